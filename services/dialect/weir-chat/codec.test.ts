import { equals, type JsonObject } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type GenerateEvent, GenerateEventSchema, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent, usageEvent } from "../events.ts";
import { parseExact, parseObject, writeJson } from "../json.ts";
import { weirChat } from "./codec.ts";

const request: JsonObject = {
  model: "small",
  messages: [
    { role: "ROLE_SYSTEM", parts: [{ text: { text: "Be brief." } }] },
    {
      role: "ROLE_USER",
      parts: [{ text: { text: "What is this?" } }, { image: { data: "AAEC", mediaType: "image/png" } }],
    },
  ],
  tools: [{ function: { name: "look", parametersSchema: '{"type":"object"}', strict: true } }],
  toolChoice: { mode: "MODE_REQUIRED", tools: ["look"] },
  sampling: { temperature: 0.5, seed: "12345678901234567" },
  maxOutputTokens: 64,
  user: "u-1",
};

test("a request comes back as it was", () => {
  const read = weirChat.readRequest(request);
  const { body } = weirChat.writeRequest(read, { model: "small", stream: true, maxOutputTokensDefault: 1 });
  expect(body).toMatchObject({ ...request, stream: true });
  const again = weirChat.readRequest(parseExact(writeJson(body)) ?? {});
  expect(equals(GenerateRequestSchema, read, again)).toBe(true);
});

test("both spellings of names are read", () => {
  expect(weirChat.readEnvelope({ ...request, max_output_tokens: 5, maxOutputTokens: null, choiceCount: 2 })).toEqual({
    model: "small",
    stream: false,
    includeUsage: true,
    choiceCount: 2,
    maxOutputTokens: 10,
    user: "u-1",
  });
});

test.each<[string, JsonObject, string]>([
  ["no model", { model: "" }, "model"],
  ["no messages", { messages: [] }, "messages"],
  ["a stream that is no flag", { stream: "yes" }, "stream"],
  ["too many choices", { choiceCount: 129 }, "choice_count"],
  ["a limit of nothing", { maxOutputTokens: 0 }, "max_output_tokens"],
])("the envelope refuses %s", (_, change, param) => {
  expect(() => weirChat.readEnvelope({ ...request, ...change })).toThrow(
    expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST, metadata: { param } }),
  );
});

test.each<[string, JsonObject, string]>([
  ["an unknown field", { nonsense: "CANARY" }, "nonsense"],
  ["a field of another type", { tools: "CANARY" }, "tools"],
  ["the mesh's own field", { wire: { body: "AAAA" } }, "wire"],
])("a request with %s is refused and not quoted", (_, change, param) => {
  let thrown: unknown;
  try {
    weirChat.readRequest({ ...request, ...change });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param } });
  expect(String(thrown)).not.toContain("CANARY");
});

test("rules of the schema hold", () => {
  expect(() => weirChat.readRequest({ ...request, sampling: { temperature: 3 } })).toThrow(WeirError);
});

const usage = { $typeName: "weir.common.v1.Usage", inputTokens: 3, outputTokens: 2, serverToolUses: {} } as const;
const text = fc.string({ unit: "grapheme", maxLength: 20 });
const deltas = fc.array(
  fc.oneof(
    text.map((value) => textEvent(0, 0, value)),
    text.map((value) => reasoningEvent(0, 1, { text: value, signature: Buffer.from(value) })),
    text.map((value) => toolCallEvent(0, 2, { id: "c", name: "n", arguments: value })),
    fc.constant(usageEvent({ ...usage, serverToolUses: {} })),
  ),
);

test("streams and whole answers come back as they were; without `end` they are not complete", () => {
  fc.assert(
    fc.property(deltas, (middle) => {
      const events: GenerateEvent[] = [
        startEvent({ id: "a", model: "m", createTimeMs: 1_700_000_000_123 }),
        ...middle,
        endEvent([choiceEnd(0, StopReason.END, "stop")], { ...usage, serverToolUses: {} }),
      ];
      const same = (got: readonly GenerateEvent[]) =>
        got.length === events.length && got.every((event, i) => equals(GenerateEventSchema, event, events[i] ?? event));
      const options = { id: "", createTimeMs: 0, model: "", includeUsage: true, request: {} };
      expect(same(weirChat.readAnswer(parseObject(weirChat.writeAnswer(events, options)) ?? {})?.events ?? [])).toBe(
        true,
      );
      const writer = weirChat.createFrameWriter(options);
      const reader = weirChat.createFrameReader();
      const read: GenerateEvent[] = [];
      for (const event of events) {
        expect(reader.complete).toBe(false);
        for (const { type, data } of writer.write(event)) reader.read(type, data, read);
      }
      expect(same(read) && reader.complete).toBe(true);
      expect(reader.usage?.usage.inputTokens).toBe(3);
    }),
  );
});

test("a stream without its end, and one with an error, are faults", () => {
  const cut = weirChat.createFrameReader();
  cut.finish([]);
  expect(cut).toMatchObject({ complete: false, fault: { kind: "malformed" } });
  const failed = weirChat.createFrameReader();
  const event = weirChat.renderErrorEvent(new WeirError(ErrorReason.OVERLOADED), "r");
  failed.read("error", event.split("data: ")[1] ?? "", []);
  expect(failed.fault).toEqual({ kind: "error", error: { code: "OVERLOADED", type: "" } });
});

test.each(Object.keys(errorTable).map((reason) => Number(reason) as Reason))(
  "reason %i is a google.rpc.Status with the status line of other dialects",
  (reason) => {
    const { status, body } = weirChat.renderError(new WeirError(reason, { metadata: { param: "x" } }), "r");
    expect(status).toBe(errorTable[reason].openai.status);
    const info = expect.objectContaining({ domain: "weir", metadata: { param: "x" } }) as unknown;
    expect(JSON.parse(body)).toMatchObject({
      error: { code: errorTable[reason].code, details: expect.arrayContaining([info]) },
    });
  },
);
