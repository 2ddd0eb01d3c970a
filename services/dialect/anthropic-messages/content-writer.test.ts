import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { PartSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { writeJson } from "../json.ts";
import type { Place } from "./content-reader.ts";
import { shorten, writeParts } from "./content-writer.ts";

type PartInit = MessageInitShape<typeof PartSchema>;
type Content = NonNullable<PartInit["content"]>;

/** The blocks that a part becomes and the parameters that were warned of, or the parameter that it is refused for. */
function outcome(part: PartInit, place: Place) {
  const warnings: Warning[] = [];
  try {
    const blocks = writeParts([create(PartSchema, part)], "parts", place, warnings);
    return { blocks: JSON.parse(writeJson(blocks)) as unknown, params: warnings.map(({ param }) => param) };
  } catch (error) {
    if (!(error instanceof WeirError) || error.reason !== ErrorReason.TARGET_UNSUPPORTED) throw error;
    expect(error.message).toMatch(/\.$/);
    return { refused: error.metadata["param"] };
  }
}

function written(block: object, ...params: string[]) {
  return { blocks: [block], params: params.map((param) => `parts[0].${param}`) };
}

function dropped(...params: string[]) {
  return { blocks: [], params: params.map((param) => `parts[0].${param}`) };
}

function refused(param: string) {
  return { refused: `parts[0].${param}` };
}

const png = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
const pdf = Buffer.from("%PDF-1.7");
const bytes = (value: Uint8Array) => ({ case: "data" as const, value });
const url = { case: "url" as const, value: "https://example.com/a" };
const proof = Buffer.from("s");

function image(value: NonNullable<Extract<Content, { case: "image" }>["value"]>): Content {
  return { case: "image", value };
}

function file(value: NonNullable<Extract<Content, { case: "file" }>["value"]>): Content {
  return { case: "file", value };
}

const pngSource = { type: "base64", media_type: "image/png", data: png.toString("base64") };
const pdfSource = { type: "base64", media_type: "application/pdf", data: pdf.toString("base64") };

// For each kind of part: where it stands, its content, and what becomes of it.
const rules: Record<string, readonly (readonly [Place, Content, object])[]> = {
  text: [
    ["user", { case: "text", value: { text: "a" } }, written({ type: "text", text: "a" })],
    ["user", { case: "text", value: { text: "" } }, dropped()],
    [
      "assistant",
      { case: "text", value: { text: "a", citations: [{ url: "https://example.com" }] } },
      written({ type: "text", text: "a" }, "text.citations"),
    ],
  ],
  image: [
    ["user", image({ source: bytes(png), mediaType: "image/png" }), written({ type: "image", source: pngSource })],
    ["user", image({ source: bytes(png) }), written({ type: "image", source: pngSource })],
    [
      "user",
      image({ source: bytes(png), mediaType: "image/jpg", detail: "auto" }),
      written({ type: "image", source: { ...pngSource, media_type: "image/jpeg" } }),
    ],
    [
      "tool_result",
      image({ source: url, detail: "low", filename: "a" }),
      written({ type: "image", source: { type: "url", url: url.value } }, "image.detail", "image.filename"),
    ],
    ["user", image({ source: bytes(png), mediaType: "image/tiff" }), refused("image.media_type")],
    ["user", image({ source: bytes(Buffer.from("?")) }), refused("image.media_type")],
    ["user", image({}), refused("image")],
    ["system", image({ source: url }), refused("image")],
  ],
  file: [
    ["user", file({ source: bytes(pdf) }), written({ type: "document", source: pdfSource })],
    [
      "user",
      file({ source: bytes(pdf), mediaType: "application/pdf", filename: "A" }),
      written({ type: "document", source: pdfSource, title: "A" }),
    ],
    [
      "user",
      file({ source: bytes(Buffer.from("# a")), mediaType: "text/markdown" }),
      written({ type: "document", source: { type: "text", media_type: "text/plain", data: "# a" } }, "file.media_type"),
    ],
    ["user", file({ source: bytes(Buffer.from([0xff])), mediaType: "text/plain" }), refused("file.media_type")],
    ["user", file({ source: bytes(Buffer.from("PK")), mediaType: "application/zip" }), refused("file.media_type")],
    ["user", file({ source: url, mediaType: "text/csv" }), refused("file.url")],
    ["system", file({ source: url }), refused("file")],
  ],
  audio: [["user", { case: "audio", value: { source: bytes(png) } }, refused("audio")]],
  toolCall: [
    [
      "assistant",
      { case: "toolCall", value: { id: "functions.f:0", name: "f", arguments: " ", signature: proof } },
      written({ type: "tool_use", id: "call_ZnVuY3Rpb25zLmY6MA", name: "f", input: {} }, "tool_call.signature"),
    ],
    [
      "assistant",
      { case: "toolCall", value: { id: "a", name: "f", arguments: '{"a":' } },
      written({ type: "tool_use", id: "a", name: "f", input: { INVALID_JSON: '{"a":' } }),
    ],
    ["user", { case: "toolCall", value: { id: "a", name: "f" } }, refused("tool_call")],
  ],
  toolResult: [
    [
      "user",
      { case: "toolResult", value: { toolCallId: "functions.f:0", failed: true } },
      written({ type: "tool_result", tool_use_id: "call_ZnVuY3Rpb25zLmY6MA", is_error: true }),
    ],
    [
      "user",
      { case: "toolResult", value: { toolCallId: "a", parts: [{ content: { case: "text", value: { text: "b" } } }] } },
      written({ type: "tool_result", tool_use_id: "a", content: "b" }),
    ],
    [
      "user",
      { case: "toolResult", value: { toolCallId: "a", parts: [{ content: { case: "audio", value: {} } }] } },
      refused("tool_result.parts[0].audio"),
    ],
    ["assistant", { case: "toolResult", value: { toolCallId: "a" } }, refused("tool_result")],
  ],
  reasoning: [
    [
      "assistant",
      { case: "reasoning", value: { text: "a", signature: proof } },
      written({ type: "thinking", thinking: "a", signature: "s" }),
    ],
    ["assistant", { case: "reasoning", value: { sealed: proof } }, written({ type: "redacted_thinking", data: "s" })],
    ["assistant", { case: "reasoning", value: { text: "a" } }, dropped("reasoning")],
    ["assistant", { case: "reasoning", value: { sealed: proof, id: "rs_1" } }, dropped("reasoning")],
    ["assistant", { case: "reasoning", value: { text: "a", sealed: proof } }, dropped("reasoning")],
    ["assistant", { case: "reasoning", value: { text: "a", signature: Buffer.from([0xff]) } }, dropped("reasoning")],
    ["user", { case: "reasoning", value: { text: "a" } }, refused("reasoning")],
  ],
  refusal: [
    ["assistant", { case: "refusal", value: { text: "No." } }, written({ type: "text", text: "No." }, "refusal")],
  ],
};

test("every kind of part has a rule", () => {
  const kinds = PartSchema.oneofs.flatMap(({ fields }) => fields.map(({ localName }) => localName));
  expect(Object.keys(rules).toSorted()).toEqual(kinds.toSorted());
});

const cases = Object.entries(rules).flatMap(([kind, rows]) => rows.map((row, index) => [kind, index, ...row] as const));

test.each(cases)("a part of kind %s is written, reported or refused: %i", (_, __, place, content, expected) => {
  expect(outcome({ content }, place)).toEqual(expected);
});

test("a part without content is refused", () => {
  expect(outcome({}, "user")).toEqual({ refused: "parts[0]" });
});

test.each([
  [0, { type: "ephemeral" }, []],
  [1, { type: "ephemeral", ttl: "5m" }, []],
  [300, { type: "ephemeral", ttl: "5m" }, []],
  [301, { type: "ephemeral", ttl: "1h" }, []],
  [3_600, { type: "ephemeral", ttl: "1h" }, []],
  [86_400, { type: "ephemeral", ttl: "1h" }, ["cache_control.ttl_seconds"]],
])("a lifetime of %i seconds", (ttlSeconds, expected, params) => {
  const part: PartInit = { content: { case: "text", value: { text: "a" } }, cacheControl: { ttlSeconds } };
  expect(outcome(part, "user")).toEqual(written({ type: "text", text: "a", cache_control: expected }, ...params));
});

test("reasoning, and a text without a character, cannot be marked for the cache", () => {
  const cacheControl = { ttlSeconds: 300 };
  expect(outcome({ content: { case: "reasoning", value: { sealed: proof } }, cacheControl }, "assistant")).toEqual(
    written({ type: "redacted_thinking", data: "s" }, "cache_control"),
  );
  expect(outcome({ content: { case: "text", value: { text: "" } }, cacheControl }, "user")).toEqual(
    dropped("cache_control"),
  );
});

test("the short form stands for one text without marks only", () => {
  const text = { type: "text", text: "a" };
  expect(shorten([text])).toBe("a");
  for (const blocks of [[text, text], [{ ...text, citations: [] }], [{ type: "image", source: {} }], []]) {
    expect(shorten(blocks)).toEqual(blocks);
  }
});
