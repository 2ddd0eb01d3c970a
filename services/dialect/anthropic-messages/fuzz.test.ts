import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, parseObject } from "../json.ts";
import { anthropicMessages } from "./codec.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);
const timeout = 600_000;

/** Words of the dialect, so that odd values stand where they hurt. */
const words = `text image document thinking redacted_thinking tool_use tool_result base64 url file text_delta thinking_delta
  signature_delta input_json_delta citations_delta auto tool any message_start content_block_start content_block_delta
  content_block_stop message_delta message_stop error ephemeral json_schema enabled adaptive user assistant system`;
const names = `type content text source data media_type index delta message content_block usage input id name thinking signature
  citations citation cache_control partial_json error input_tokens output_tokens cache_creation iterations stop_reason
  stop_details tool_use_id`;
const word = fc.constantFrom(...words.split(/\s+/));
const name = fc.constantFrom(...names.split(/\s+/));
const leaf = fc.oneof(word, fc.constantFrom(null, true, 0, 1, -1, 0.5, 1e300, "", "a", "weir:a.b.c", "weir-call:a.b"));
const { json } = fc.letrec<{ json: unknown; object: object }>((tie) => ({
  json: fc.oneof({ maxDepth: 4, withCrossShrink: true }, leaf, tie("object"), fc.array(tie("json"), { maxLength: 3 })),
  object: fc.dictionary(name, tie("json"), { maxKeys: 5 }),
}));
const object = fc.dictionary(name, json, { maxKeys: 6 });

test("no request makes the reader fail in any other way than by telling what to change", { timeout }, () => {
  const body = fc.record(
    {
      model: fc.constant("m"),
      max_tokens: fc.constantFrom(1, undefined),
      messages: fc.array(fc.record({ role: fc.constantFrom("user", "assistant", "system"), content: json }), {
        minLength: 1,
      }),
      system: json,
      tools: fc.array(object),
      tool_choice: json,
      thinking: json,
      output_config: json,
      metadata: json,
    },
    { requiredKeys: ["model", "messages"] },
  );
  fc.assert(
    fc.property(body, (request) => {
      try {
        const read = anthropicMessages.readRequest(parseExact(JSON.stringify(request)) ?? {});
        expect(read.model).toBe("m");
      } catch (error) {
        if (!(error instanceof WeirError)) throw error;
        expect([ErrorReason.INVALID_REQUEST, ErrorReason.TARGET_UNSUPPORTED]).toContain(error.reason);
        expect(error.metadata["param"]).toEqual(expect.any(String));
      }
    }),
    { numRuns },
  );
});

test("no stream makes the reader throw, and nothing comes after its end or its fault", { timeout }, () => {
  const frame = fc.tuple(
    fc.constantFrom("", "ping", "error", "message_start"),
    fc.oneof(
      object.map((members) => JSON.stringify(members)),
      fc.string(),
    ),
  );
  const start: [string, string] = ["", '{"type":"message_start","message":{}}'];
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), (frames) => {
      const reader = anthropicMessages.createFrameReader();
      const events: GenerateEvent[] = [];
      for (const [type, data] of [start, ...frames]) {
        const isOver = reader.complete || reader.fault !== undefined;
        const before = events.length;
        reader.read(type, data, events);
        if (isOver) expect(events).toHaveLength(before);
      }
      reader.finish(events);
      expect(events.filter(({ kind }) => kind.case === "end")).toHaveLength(reader.complete ? 1 : 0);
      expect(reader.complete && reader.fault !== undefined).toBe(false);
    }),
    { numRuns },
  );
});

test("no answer makes the reader throw, and one that is read begins and ends", { timeout }, () => {
  fc.assert(
    fc.property(fc.record({ content: fc.array(json), usage: json, stop_details: json }), (answer) => {
      const read = anthropicMessages.readAnswer(parseExact(JSON.stringify(answer)) ?? {});
      const kinds = read?.events.map(({ kind }) => kind.case) ?? ["start", "end"];
      expect([kinds[0], kinds.at(-1)]).toEqual(["start", "end"]);
      expect(anthropicMessages.readError(answer)).toBeUndefined();
    }),
    { numRuns },
  );
});

test.each([{}, { content: "text" }, { type: "error", content: [] }, { object: "chat.completion", choices: [] }])(
  "%j is no answer",
  (body) => {
    expect(anthropicMessages.readAnswer(body)).toBeUndefined();
  },
);

test("absurd depth is a fault, and what is only kept as a record is left out", () => {
  const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
  const start = '{"type":"message_start","message":{}}';
  const read = (block: string) => {
    const reader = anthropicMessages.createFrameReader();
    const events: GenerateEvent[] = [];
    for (const data of [
      start,
      `{"type":"content_block_start","index":0,"content_block":${block}}`,
      '{"type":"content_block_stop","index":0}',
      `{"type":"message_delta","delta":{"stop_details":{"a":${deep}}}}`,
      '{"type":"message_stop"}',
    ]) {
      reader.read("", data, events);
    }
    return { reader, events };
  };
  expect(read(`{"type":"tool_use","id":"a","name":"f","input":{"a":${deep}}}`).reader.fault).toEqual({
    kind: "malformed",
  });
  const { reader, events } = read(`{"type":"text","text":"a","citations":[{"type":"char_location","a":${deep}}]}`);
  expect(reader.complete).toBe(true);
  const [citation] = events.flatMap(({ kind }) => (kind.case === "citation" ? [kind.value.citation] : []));
  expect(citation).not.toHaveProperty("details");
  const answer = parseObject(`{"content":[{"type":"tool_use","id":"a","name":"f","input":{"a":${deep}}}]}`);
  expect(answer && anthropicMessages.readAnswer(answer)).toBeUndefined();
});
