import { create } from "@bufbuild/protobuf";
import { Dialect, type WireRequest, WireRequestSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { estimateInputTokens, readWireRequest, wireRequest } from "../wire-request.ts";
import { openaiChat } from "./codec.ts";
import { upstreamBody } from "./request.ts";

const hi = { model: "m", messages: [{ role: "user", content: "hi" }] };

function read(body: unknown) {
  return readChatRequest(Buffer.from(typeof body === "string" ? body : JSON.stringify(body)));
}

function fault(body: unknown): WeirError {
  try {
    if (Buffer.isBuffer(body)) readChatRequest(body);
    else read(body);
  } catch (error) {
    if (error instanceof WeirError && error.reason === ErrorReason.INVALID_REQUEST) return error;
    throw error;
  }
  throw new Error("was accepted");
}

function toWire(body: Buffer): WireRequest {
  const reading = readWireRequest(openaiChat, body);
  return wireRequest(openaiChat, reading, reading.envelope.stream ?? false, {});
}

/** What is known of a request, flat. */
function readChatRequest(body: Buffer) {
  const { envelope, model, streamOptions, inputTokensEstimate } = readWireRequest(openaiChat, body);
  return { ...envelope, inputTokensEstimate, wire: { model, streamOptions } };
}

test("reads what Weir needs", () => {
  expect(read(hi)).toMatchObject({ model: "m", stream: false, includeUsage: false, choiceCount: 1 });
  expect(read(hi)).not.toHaveProperty("maxOutputTokens");
  const full = read({
    ...hi,
    stream: true,
    stream_options: { include_usage: true },
    n: 3,
    max_tokens: 10,
    max_completion_tokens: 20,
    user: "u",
    safety_identifier: "s",
  });
  expect(full).toMatchObject({ stream: true, includeUsage: true, choiceCount: 3, maxOutputTokens: 60, user: "s" });
});

test("null stands for absent", () => {
  const request = read({ ...hi, stream: null, stream_options: null, n: null, max_tokens: null, user: null });
  expect(request).toMatchObject({ stream: false, includeUsage: false, choiceCount: 1 });
  expect(request).not.toHaveProperty("user");
});

test.each<[string, unknown, string | undefined]>([
  ["an empty body", "", undefined],
  ["no JSON", "hello", undefined],
  ["a cut body", '{"model":"m","messages":[{"role":"us', undefined],
  ["two documents", `${JSON.stringify(hi)} {}`, undefined],
  ["an array", "[1]", undefined],
  ["a string", '"model"', undefined],
  ["null", "null", undefined],
  ["a byte order mark", `\uFEFF${JSON.stringify(hi)}`, undefined],
  ["no model", { messages: hi.messages }, "model"],
  ["an empty model", { ...hi, model: "" }, "model"],
  ["a model that is a number", { ...hi, model: 1 }, "model"],
  ["a long model", { ...hi, model: "x".repeat(513) }, "model"],
  ["no messages", { model: "m" }, "messages"],
  ["empty messages", { model: "m", messages: [] }, "messages"],
  ["messages that are text", { model: "m", messages: "hi" }, "messages"],
  ["a message that is text", { model: "m", messages: [hi.messages[0], "hi"] }, "messages[1]"],
  ["a message without role", { model: "m", messages: [{ content: "hi" }] }, "messages[0].role"],
  ["an unknown role", { model: "m", messages: [{ role: "root" }] }, "messages[0].role"],
  ["a role that is a list", { model: "m", messages: [{ role: ["user"] }] }, "messages[0].role"],
  ["stream as text", { ...hi, stream: "true" }, "stream"],
  ["stream as number", { ...hi, stream: 1 }, "stream"],
  ["stream_options as list", { ...hi, stream_options: [] }, "stream_options"],
  ["include_usage as text", { ...hi, stream_options: { include_usage: "yes" } }, "stream_options.include_usage"],
  ["max_tokens zero", { ...hi, max_tokens: 0 }, "max_tokens"],
  ["max_tokens negative", { ...hi, max_tokens: -1 }, "max_tokens"],
  ["max_tokens fractional", { ...hi, max_tokens: 1.5 }, "max_tokens"],
  ["max_tokens huge", { ...hi, max_tokens: 1e300 }, "max_tokens"],
  ["max_completion_tokens as text", { ...hi, max_completion_tokens: "9" }, "max_completion_tokens"],
  ["n zero", { ...hi, n: 0 }, "n"],
  ["n of 129", { ...hi, n: 129 }, "n"],
  ["user as number", { ...hi, user: 7 }, "user"],
  ["a long safety_identifier", { ...hi, safety_identifier: "x".repeat(257) }, "safety_identifier"],
])("refuses %s", (_, body, param) => {
  expect(fault(body).metadata["param"]).toBe(param);
});

test("refuses what is not UTF-8", () => {
  const body = Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff]), Buffer.from('"}')]);
  expect(fault(body).message).toContain("UTF-8");
});

test.each([
  ['{"model":"a","model":"b","messages":[{"role":"user"}]}', "model"],
  ['{"model":"a","mo\\u0064el":"b","messages":[{"role":"user"}]}', "model"],
  ['{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a","model":"b","messages":[{"role":"user"}]}', "model"],
  ['{"model":"a","stream":false,"messages":[{"role":"user"}],"stream":true}', "stream"],
  ['{"model":"a","messages":[{"role":"user"}],"n":1,"n":100}', "n"],
  ['{"model":"a","messages":[{"role":"user"}],"stream_options":{},"stream_options":null}', "stream_options"],
  [
    '{"model":"a","messages":[{"role":"user"}],"stream_options":{"include_usage":true,"include_\\u0075sage":false}}',
    "stream_options.include_usage",
  ],
])("refuses a member that stands twice: %s", (body, param) => {
  expect(fault(body).metadata["param"]).toBe(param);
});

test("a name inside a value is not a second member", () => {
  const request = read(
    '{"model":"a","metadata":{"model":"b"},"messages":[{"role":"user","content":"\\"model\\":\\"c\\""}]}',
  );
  expect(request.model).toBe("a");
});

test("never quotes the body", () => {
  const secret = "sk-very-secret";
  for (const body of [
    `{"model":"m","messages":${secret}}`,
    { ...hi, stream: secret },
    { ...hi, model: "m", messages: [{ role: secret }] },
    { ...hi, max_tokens: secret },
  ]) {
    const error = fault(body);
    expect(`${error.message} ${JSON.stringify(error.metadata)}`).not.toContain("secret");
  }
});

test("depth is limited before anything is built", () => {
  const deep = (levels: number) =>
    `{"model":"m","messages":[{"role":"user"}],"x":${"[".repeat(levels)}${"]".repeat(levels)}}`;
  expect(read(deep(127)).model).toBe("m");
  expect(fault(deep(128)).message).toContain("deeper");
  const startMs = performance.now();
  fault(`{"x":${"[".repeat(1_000_000)}`);
  expect(performance.now() - startMs).toBeLessThan(500);
});

test("hostile strings cost linear time", () => {
  for (const text of ['\\"'.repeat(1_000_000), "\\\\".repeat(1_000_000), `${"x".repeat(120)}\\"`.repeat(10_000)]) {
    const startMs = performance.now();
    const body = Buffer.from(`{"model":"m","messages":[{"role":"user","content":"${text}"}]}`);
    expect(readChatRequest(body).wire.model).toMatchObject({ start: 9, end: 12 });
    expect(performance.now() - startMs).toBeLessThan(1_000);
  }
});

test("the spans do not depend on white space or on the order of members", () => {
  const text = '\n { "stream_options" : { } , "messages":[{"role":"user"}],"stream":true ,\t"model" : "m\\"x" \r\n} ';
  const body = Buffer.from(text);
  const { wire, model } = readChatRequest(body);
  expect(model).toBe('m"x');
  expect(body.toString("utf8", wire.model?.start, wire.model?.end)).toBe('"m\\"x"');
  expect(body.toString("utf8", wire.streamOptions?.start, wire.streamOptions?.end)).toBe("{ }");
});

test("the estimate goes by bytes and does not count embedded files", () => {
  expect(read({ ...hi, messages: [{ role: "user", content: "x".repeat(4_000) }] }).inputTokensEstimate).toBeGreaterThan(
    999,
  );
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(1_000_000)}` } };
  const body = Buffer.from(JSON.stringify({ ...hi, messages: [{ role: "user", content: [image, image] }] }));
  const request = readChatRequest(body);
  expect(request.inputTokensEstimate).toBeGreaterThan(2_000);
  expect(request.inputTokensEstimate).toBeLessThan(2_100);
  expect(estimateInputTokens(body)).toBe(request.inputTokensEstimate);
});

// A request as a client might write it: members in any order, any white space, unknown members, odd texts.
const space = fc.constantFrom("", " ", "\n", "\t  ", "\r\n");
const streamOptions = fc.option(
  fc.record(
    { include_usage: fc.option(fc.boolean()), include_obfuscation: fc.boolean(), more: fc.jsonValue() },
    { requiredKeys: [] },
  ),
);
const chatBody = fc
  .record(
    {
      model: fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
      messages: fc.array(fc.record({ role: fc.constantFrom("user", "tool"), content: fc.jsonValue() }), {
        minLength: 1,
      }),
      stream: fc.option(fc.boolean()),
      stream_options: streamOptions,
      metadata: fc.jsonValue(),
      'we"ird\\': fc.jsonValue(),
      temperature: fc.double({ noNaN: true, noDefaultInfinity: true }),
    },
    { requiredKeys: ["model", "messages"] },
  )
  .chain((request) =>
    fc.tuple(
      fc.constant(request),
      fc.shuffledSubarray(Object.keys(request), { minLength: Object.keys(request).length }),
      space,
    ),
  )
  .map(([request, order, gap]) => {
    const members = order.map(
      (name) =>
        `${gap}${JSON.stringify(name)}${gap}:${gap}${JSON.stringify(request[name as "model"], null, gap)}${gap}`,
    );
    return { request, text: `${gap}{${members.join(",")}}${gap}` };
  });

test("the target's body is the client's with its model, and with include_usage when it streams", () => {
  fc.assert(
    fc.property(
      chatBody,
      fc.string({ unit: "grapheme", minLength: 1 }),
      fc.boolean(),
      ({ text }, model, streamsUsage) => {
        const body = Buffer.from(text);
        const wire = toWire(body);
        const result = upstreamBody(wire, model, streamsUsage);
        const expected = JSON.parse(text) as Record<string, unknown>;
        expected["model"] = model;
        if (wire.stream && streamsUsage) {
          expected["stream_options"] = { ...(expected["stream_options"] as object | null), include_usage: true };
        }
        expect(JSON.parse(result.toString())).toEqual(expected);
      },
    ),
    { numRuns: 1_000 },
  );
});

test("bytes outside the spans stay", () => {
  fc.assert(
    fc.property(chatBody, ({ text }) => {
      const body = Buffer.from(text);
      const wire = toWire(body);
      const { model } = wire;
      if (!model) throw new Error("no span");
      const only = upstreamBody(wire, "T", false);
      expect(only.subarray(0, model.start)).toEqual(body.subarray(0, model.start));
      expect(only.subarray(model.start + 3)).toEqual(body.subarray(model.end));
      const both = upstreamBody(wire, "T", true);
      if (!wire.stream || wire.includeUsage) {
        expect(both).toEqual(only);
        return;
      }
      // Taking the addition out again gives the client's bytes.
      const back = both.toString().replace('"stream_options":{"include_usage":true},', "");
      if (!wire.streamOptions) expect(back).toBe(only.toString());
      else {
        const options = JSON.parse(text).stream_options as Record<string, unknown> | null;
        if (options && !("include_usage" in options)) {
          expect(both.toString().replace(/"include_usage":true,?/, "")).toBe(only.toString());
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("numbers and texts that a parser would change go through", () => {
  const text =
    '{"model":"m","messages":[{"role":"user","content":"\\ud800 \\/ \\u00e9 é"}],"stream":true,"seed":12345678901234567890,"x":1.0,"stream_options":{"y":1e400,"__proto__":{"z":1}}}';
  const result = upstreamBody(toWire(Buffer.from(text)), "target", true).toString();
  expect(result).toBe(text.replace('"m"', '"target"').replace('{"y"', '{"include_usage":true,"y"'));
});

test.each([
  [{ start: 0, end: 5 }, undefined],
  [{ start: 9, end: 9 }, undefined],
  [{ start: 9, end: 4_000 }, undefined],
  [{ start: 10, end: 12 }, undefined],
  [undefined, undefined],
  [
    { start: 9, end: 12 },
    { start: 10, end: 4_000 },
  ],
  [
    { start: 9, end: 12 },
    { start: 8, end: 20 },
  ],
])("spans that do not fit are refused: %o %o", (model, streamOptions_) => {
  const wire = create(WireRequestSchema, {
    dialect: Dialect.OPENAI_CHAT,
    body: Buffer.from('{"model":"m","messages":[{"role":"user"}],"stream":true}'),
    stream: true,
    ...(model ? { model } : {}),
    ...(streamOptions_ ? { streamOptions: streamOptions_ } : {}),
  });
  expect(() => upstreamBody(wire, "x", true)).toThrow(WeirError);
});

test.each([
  ["a text that begins like one", `data: ${"these are words. ".repeat(1_000)}`, 4_000, 5_000],
  ["a text after the head of one", `data:image/png;base64,${"these are words. ".repeat(1_000)}`, 4_000, 5_000],
  ["one whose data is not in base 64", `data:text/plain,${"words%20".repeat(2_000)}`, 3_900, 4_500],
  ["a picture", `data:image/png;base64,${"iVBORw0KGgo".repeat(2_000)}`, 1_000, 1_100],
  ["a picture with parameters", `data:image/svg+xml;charset=utf-8;base64,${"PHN2Zz4".repeat(2_000)}`, 1_000, 1_100],
])("a data: URL counts as 1,000 tokens, a text as its length: %s", (_what, content, least, most) => {
  const { inputTokensEstimate } = read({ ...hi, messages: [{ role: "user", content }] });
  expect(inputTokensEstimate).toBeGreaterThan(least);
  expect(inputTokensEstimate).toBeLessThan(most);
});
