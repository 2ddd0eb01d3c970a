import type { JsonObject } from "@bufbuild/protobuf";
import type { Codec, Frame } from "@weir/dialect/codec";
import { writeFrames } from "@weir/dialect/framing/writer";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import {
  attemptRequest,
  canonicalRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  startProvider,
} from "./testing/pool-under-test.ts";
import {
  clients,
  events,
  framesOf,
  known,
  options,
  readBack,
  said,
  streamed,
  toolArguments,
  vendor,
  vendors,
} from "./testing/vendors.ts";

describe.each(vendors)("a provider of %s", (_, dialect, init) => {
  const source = known(dialect);
  const frames = framesOf(source);
  const bytes = Buffer.from(writeFrames(source.framing, frames));

  test.each(clients)("streams to a client of %s", async (_name, clientDialect, body) => {
    const client = known(clientDialect);
    await using at = await vendor(source, init, [bytes]);
    const request = attemptRequest(streamed(body, clientDialect), {}, client, true);
    const answer = await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
    expect(answer.error).toBeUndefined();
    expect(answer.head).toMatchObject({ status: 200, contentType: "text/event-stream" });
    const got = readBack(client, answer.text);
    expect(got).toMatchObject({ words: said.join(""), complete: true, fault: undefined });
    expect(got.args.replaceAll(/\s/g, "")).toBe(toolArguments.join(""));
    expect(at.pool.journal.events).toMatchObject([
      {
        outcome: AttemptOutcome.COMPLETED,
        usageSource: UsageSource.REPORTED,
        usage: { inputTokens: 9, outputTokens: 5 },
        stream: true,
      },
    ]);
    expect(at.pool.defects).toEqual([]);
  });

  test("an answer that is no stream reaches every client whole", async () => {
    for (const [, clientDialect, body] of clients) {
      const client = known(clientDialect);
      await using provider = await startProvider((response) =>
        response.writeHead(200, { "content-type": "application/json" }).end(source.writeAnswer(events(), options)),
      );
      await using pool = createTestPool(provider.url, init);
      const request = attemptRequest(body, {}, client);
      const answer = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
      expect(answer.error).toBeUndefined();
      const read = client.readAnswer(JSON.parse(answer.text) as JsonObject);
      expect(read?.usage).toMatchObject({ sound: true, usage: { inputTokens: 9, outputTokens: 5 } });
      const text = read?.events.flatMap(({ kind }) =>
        kind.case === "delta" && kind.value.content.case === "text" ? [kind.value.content.value] : [],
      );
      expect(text?.join("")).toBe(said.join(""));
      expect(answer.text).toContain("12345678901234567890");
      expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.COMPLETED, usage: { outputTokens: 5 } }]);
    }
  });

  test("a caller of the canonical form gets events", async () => {
    await using at = await vendor(source, init, [bytes]);
    const got: GenerateEvent[] = [];
    const call = at.pool.client.runAttempt(canonicalRequest(), { metadata: principalMetadata });
    for await (const { payload } of call) if (payload.case === "event") got.push(payload.value);
    expect(got[0]?.kind.case).toBe("start");
    expect(got.at(-1)?.kind).toMatchObject({ case: "end", value: { usage: { inputTokens: 9, outputTokens: 5 } } });
    expect(at.pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.COMPLETED }]);
  });

  test("wherever its stream is cut, no client takes it for whole", async () => {
    const [, clientDialect, body] = clients[dialect === Dialect.OPENAI_CHAT ? 2 : 0] ?? [];
    if (clientDialect === undefined || body === undefined) throw new Error("no client");
    for (const breaks of [false, true]) {
      for (let count = 0; count < frames.length; count += 1) {
        const part = writeFrames(source.framing, frames.slice(0, count));
        const whole = createFrameReaderOver(source, frames.slice(0, count));
        if (whole) continue; // what follows the end says nothing more
        await using at = await vendor(source, init, count === 0 ? [] : [part], breaks);
        const request = attemptRequest(streamed(body, clientDialect), {}, known(clientDialect), true);
        const answer = await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
        expect(answer.error).toBeInstanceOf(WeirError);
        expect(answer.tail).toBeUndefined();
        expect(readBack(known(clientDialect), answer.text).complete).toBe(false);
        expect(at.pool.journal.events).toHaveLength(1);
        expect(at.pool.defects).toEqual([]);
      }
    }
  });

  const textFrames = source.framing !== "aws-event-stream";
  const first = frames.slice(0, 3);
  const asText = (data: string) => (textFrames ? (source.framing === "sse" ? `data: ${data}\n\n` : `${data}\n`) : data);

  test.each([
    ["bad JSON before content", [asText('{"a":')], ErrorReason.PROVIDER_UNAVAILABLE],
    ["bad JSON after content", [writeFrames(source.framing, first), asText('{"a":')], undefined],
    ["a line of 10 MB", [asText(`{"x":"${"y".repeat(10_000_000)}"}`)], ErrorReason.PROVIDER_UNAVAILABLE],
    ["a line without end", ["data: " + "y".repeat(10_000_000)], ErrorReason.PROVIDER_UNAVAILABLE],
    ["nothing", [], ErrorReason.PROVIDER_UNAVAILABLE],
    ["bytes of no kind", [Buffer.from([0, 255, 254, 10, 10, 13, 0, 1])], ErrorReason.PROVIDER_UNAVAILABLE],
  ] as const)("sends %s: one clear error, one settlement", async (_what, pieces, reason) => {
    for (const [, clientDialect, body] of clients) {
      await using at = await vendor(source, init, pieces);
      const request = attemptRequest(streamed(body, clientDialect), {}, known(clientDialect), true);
      const answer = await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
      expect(answer.error).toBeInstanceOf(WeirError);
      if (reason !== undefined) expect(answer.error).toMatchObject({ reason });
      expect(answer.tail).toBeUndefined();
      expect(at.pool.journal.events).toHaveLength(1);
      expect(at.pool.defects).toEqual([]);
    }
  });
});

test("a turn that another vendor reasoned goes back without its proof, and not as bytes", async () => {
  const codec = known(Dialect.ANTHROPIC_MESSAGES);
  const bytes = writeFrames("sse", framesOf(codec));
  await using at = await vendor(codec, { kind: ProviderKind.ANTHROPIC }, [bytes]);
  const thinking = { type: "thinking", thinking: "hm", signature: "" };
  const body = {
    model: "alias",
    max_tokens: 100,
    stream: true,
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: [thinking, { type: "text", text: "hello" }] },
      { role: "user", content: "again" },
    ],
  };
  const request = attemptRequest(body, {}, codec);
  const answer = await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
  expect(answer.error).toBeUndefined();
  expect(at.provider.received[0]?.body).not.toContain("thinking");
  expect(at.provider.received[0]?.body).toContain("hello");
  expect(answer.head?.warnings.length).toBeGreaterThan(0);
});

test("a text that speaks of Weir's marks passes as bytes", async () => {
  const codec = known(Dialect.ANTHROPIC_MESSAGES);
  await using at = await vendor(codec, { kind: ProviderKind.ANTHROPIC }, [writeFrames("sse", framesOf(codec))]);
  const content = 'what is {"signature":"weir:abc"} and rs_weir_1?';
  const sent = { model: "alias", max_tokens: 9, stream: true, messages: [{ role: "user", content }], unknown: 1 };
  const request = attemptRequest(sent, {}, codec);
  await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
  expect(at.provider.received[0]?.body).toBe(JSON.stringify(sent).replace('"alias"', '"target-model"'));
});

test("an Anthropic stream that is cut off is billed by what came, not by its first count", async () => {
  const codec = known(Dialect.ANTHROPIC_MESSAGES);
  const begin = {
    type: "message_start",
    message: { id: "m", role: "assistant", content: [], usage: { input_tokens: 25, output_tokens: 1 } },
  };
  const block = { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
  const delta = { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "word" } };
  const frames = [begin, block, ...Array.from({ length: 50 }, () => delta)].map((json) => ({
    type: json.type,
    data: JSON.stringify(json),
  }));
  for (const [, dialect, body] of clients.slice(0, 3)) {
    await using at = await vendor(codec, { kind: ProviderKind.ANTHROPIC }, [writeFrames("sse", frames)], true);
    const request = attemptRequest(streamed(body, dialect), {}, known(dialect), true);
    await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
    expect(at.pool.journal.events).toMatchObject([
      {
        outcome: AttemptOutcome.TRUNCATED,
        usageSource: UsageSource.COUNTED,
        usage: { inputTokens: 25, outputTokens: 50 },
      },
    ]);
  }
});

/** Whether frames alone are a complete answer. */
function createFrameReaderOver(codec: Codec, frames: readonly Frame[]): boolean {
  const reader = codec.createFrameReader();
  const out: GenerateEvent[] = [];
  for (const { type, data } of frames) reader.read(type, data, out);
  reader.finish(out);
  return reader.complete;
}

test.each(clients.filter(([, dialect]) => dialect !== Dialect.OPENAI_CHAT && dialect !== Dialect.WEIR_CHAT))(
  "a client of %s gets the bytes of a provider that speaks it",
  async (_, dialect, body) => {
    const codec = known(dialect);
    const init = vendors.find(([, other]) => other === dialect)?.[2] ?? {};
    const bytes = Buffer.from(writeFrames("sse", framesOf(codec)));
    for (const size of [1, 7, bytes.length]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (__, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      await using at = await vendor(codec, init, pieces);
      const sent = { ...streamed(body, dialect), unknown_member: { "a b": [1.0, "\u00e9"] } };
      const request = attemptRequest(sent, {}, codec, true);
      const answer = await readAll(at.pool.client.runAttempt(request, { metadata: principalMetadata }));
      expect(answer.error).toBeUndefined();
      expect(answer.text).toBe(bytes.toString());
      expect(at.provider.received[0]?.body).toBe(JSON.stringify(sent).replace('"alias"', '"target-model"'));
      expect(at.pool.journal.events).toMatchObject([{ usage: { inputTokens: 9, outputTokens: 5 } }]);
    }
  },
);

const geminiError = (status: string, code: number, details: object[]) =>
  JSON.stringify({ error: { code, message: "CANARY", status, details } });
const unknownKey = { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID" };
const retryInfo = { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "7s" };

test.each<[string, ProviderInit, number, string, object, Record<string, string>?]>([
  [
    "our own key, though with status 400",
    { kind: ProviderKind.GEMINI },
    400,
    geminiError("INVALID_ARGUMENT", 400, [unknownKey]),
    { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "credential" } },
  ],
  [
    "a rate, with the delay in the body",
    { kind: ProviderKind.GEMINI },
    429,
    geminiError("RESOURCE_EXHAUSTED", 429, [retryInfo]),
    { reason: ErrorReason.PROVIDER_RATE_LIMITED, retryAfterMs: 7_000 },
  ],
  [
    "overload",
    { kind: ProviderKind.ANTHROPIC },
    529,
    '{"type":"error","error":{"type":"overloaded_error","message":"CANARY"}}',
    { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "server" } },
  ],
  [
    "a request that another dialect's client sent",
    { kind: ProviderKind.ANTHROPIC },
    400,
    '{"type":"error","error":{"type":"invalid_request_error","message":"CANARY"}}',
    { reason: ErrorReason.PROVIDER_REJECTED, message: expect.stringContaining("invalid_request_error") as string },
  ],
  [
    "throttling that only a header names",
    { kind: ProviderKind.BEDROCK },
    400,
    '{"message":"CANARY"}',
    { reason: ErrorReason.PROVIDER_RATE_LIMITED },
    { "x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/com.amazonaws.bedrock/" },
  ],
  [
    "throttling without a body",
    { kind: ProviderKind.BEDROCK },
    400,
    "",
    { reason: ErrorReason.PROVIDER_RATE_LIMITED },
    { "x-amzn-errortype": "ThrottlingException" },
  ],
  [
    "a conversation that is too long, which only the message tells",
    { kind: ProviderKind.BEDROCK },
    400,
    '{"message":"Input is too long for requested model."}',
    { reason: ErrorReason.CONTEXT_TOO_LONG },
    { "x-amzn-errortype": "ValidationException" },
  ],
  [
    "a request at fault, by its class",
    { kind: ProviderKind.BEDROCK },
    400,
    '{"message":"CANARY"}',
    { reason: ErrorReason.PROVIDER_REJECTED, message: expect.stringContaining("ValidationException") as string },
    { "x-amzn-errortype": "ValidationException" },
  ],
])("%s is judged by what the vendor says", async (_, init, status, body, expected, headers = {}) => {
  await using provider = await startProvider((response) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(body),
  );
  await using pool = createTestPool(provider.url, init);
  const answer = await readAll(
    pool.client.runAttempt(attemptRequest(clients[0]?.[2] ?? {}), { metadata: principalMetadata }),
  );
  expect(answer.error).toMatchObject(expected);
  expect(String(answer.error)).not.toContain("CANARY");
  expect(pool.journal.events).toHaveLength(1);
});
