import { createServer } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import {
  answerJson,
  chunk,
  createTestPool,
  eventStream,
  freePort,
  hello,
  json,
  listen,
  readAll,
  sse,
  startProvider,
  streaming,
  streamShown,
  streamText,
} from "./testing/pool-under-test.ts";

const secret = "words of the provider";
const errorBody = (code: string | null = null) =>
  JSON.stringify({ error: { message: secret, type: "t", param: null, code } });

test.each<[number, string, Record<string, string>, ErrorReason, Record<string, string>, number | undefined]>([
  [401, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "credential" }, undefined],
  [402, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "credential" }, undefined],
  [403, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "credential" }, undefined],
  [408, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "server" }, undefined],
  [500, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "server" }, undefined],
  [
    502,
    "<html>",
    { "content-type": "text/html" },
    ErrorReason.PROVIDER_UNAVAILABLE,
    { provider: "p", cause: "server" },
    undefined,
  ],
  [503, "", { "retry-after": "2" }, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "server" }, 2_000],
  [529, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "server" }, undefined],
  [429, errorBody(), json, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, undefined],
  [429, errorBody(), { ...json, "retry-after": "1.5" }, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, 1_500],
  [429, "", { "retry-after-ms": "250", "retry-after": "9" }, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, 250],
  [429, "", { "retry-after": "999999" }, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, 3_600_000],
  [429, "", { "retry-after": "soon" }, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, undefined],
  [
    429,
    errorBody("insufficient_quota"),
    json,
    ErrorReason.PROVIDER_UNAVAILABLE,
    { provider: "p", cause: "credential" },
    undefined,
  ],
  [
    302,
    "",
    { location: "http://127.0.0.1:1/" },
    ErrorReason.PROVIDER_UNAVAILABLE,
    { provider: "p", cause: "protocol" },
    undefined,
  ],
  [400, "no json", json, ErrorReason.PROVIDER_REJECTED, { provider: "p", status: "400" }, undefined],
  [422, '{"detail":"x"}', json, ErrorReason.PROVIDER_REJECTED, { provider: "p", status: "422" }, undefined],
  [
    404,
    "<html>",
    { "content-type": "text/html" },
    ErrorReason.PROVIDER_REJECTED,
    { provider: "p", status: "404" },
    undefined,
  ],
  [
    400,
    `{"error":"${"x".repeat(300_000)}"}`,
    json,
    ErrorReason.PROVIDER_REJECTED,
    { provider: "p", status: "400" },
    undefined,
  ],
  // Good statuses with bad bodies.
  [
    200,
    "<html>",
    { "content-type": "text/html" },
    ErrorReason.PROVIDER_UNAVAILABLE,
    { provider: "p", cause: "protocol" },
    undefined,
  ],
  [200, "", json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "protocol" }, undefined],
  [200, errorBody(), json, ErrorReason.PROVIDER_UNAVAILABLE, { provider: "p", cause: "server" }, undefined],
  [200, errorBody("429"), json, ErrorReason.PROVIDER_RATE_LIMITED, { provider: "p" }, undefined],
  [
    200,
    errorBody("invalid_request_error"),
    json,
    ErrorReason.PROVIDER_REJECTED,
    { provider: "p", status: "400" },
    undefined,
  ],
  [
    200,
    answerJson,
    { ...json, "content-encoding": "br" },
    ErrorReason.PROVIDER_UNAVAILABLE,
    { provider: "p", cause: "protocol" },
    undefined,
  ],
])(
  "status %i with %.20s: the right class, and nothing is billed",
  async (status, body, headers, reason, metadata, retryAfterMs) => {
    await using provider = await startProvider((response) => response.writeHead(status, headers).end(body));
    await using pool = createTestPool(provider.url);
    for (const request of [hello, streaming]) {
      const { error, chunks } = await readAll(pool.run(request));
      expect(chunks).toEqual([]);
      expect(error).toBeInstanceOf(WeirError);
      expect(error).toMatchObject({ reason, metadata, retryAfterMs });
      expect(String((error as Error).message)).not.toContain(secret);
    }
    const outcome = reason === ErrorReason.PROVIDER_REJECTED ? AttemptOutcome.REJECTED : AttemptOutcome.FAILED;
    const billed = headers["content-encoding"] !== undefined; // it may well have answered
    for (const event of pool.journal.events) {
      expect(event).toMatchObject({ outcome, providerStatus: status });
      if (!billed) {
        expect(event).toMatchObject({ usage: { inputTokens: 0, outputTokens: 0 }, usageSource: UsageSource.COUNTED });
      }
    }
    expect(pool.journal.events).toHaveLength(2);
    expect(pool.defects).toEqual([]);
  },
);

test.each([400, 404, 409, 413, 415, 422])(
  "status %i is the client's own fault, in the provider's own bytes",
  async (status) => {
    const body = errorBody("context_length_exceeded");
    await using provider = await startProvider((response) => response.writeHead(status, json).end(body));
    await using pool = createTestPool(provider.url);
    for (const request of [hello, streaming]) {
      const answer = await readAll(pool.run(request));
      expect(answer).toMatchObject({ text: body, error: undefined, head: { status, contentType: "application/json" } });
      expect(answer.tail).toMatchObject({ usage: { inputTokens: 0, outputTokens: 0 } });
    }
    expect(pool.journal.events).toMatchObject([
      { outcome: AttemptOutcome.REJECTED, providerStatus: status, usage: { inputTokens: 0, outputTokens: 0 } },
      { outcome: AttemptOutcome.REJECTED },
    ]);
  },
);

test("what is too long is an error of its own where another target may take it, and nothing of the answer goes out", async () => {
  const body = errorBody("context_length_exceeded");
  await using provider = await startProvider((response) => response.writeHead(400, json).end(body));
  await using pool = createTestPool(provider.url);
  for (const request of [hello, streaming]) {
    const answer = await readAll(pool.run(request, { hasLargerTarget: true }));
    expect(answer).toMatchObject({ text: "", head: undefined, error: { reason: ErrorReason.CONTEXT_TOO_LONG } });
  }
  const settled = { outcome: AttemptOutcome.REJECTED, providerStatus: 400, usage: { inputTokens: 0, outputTokens: 0 } };
  expect(pool.journal.events).toMatchObject([settled, settled]);
});

test("another refusal is in the provider's own bytes, wherever the request could go", async () => {
  const body = errorBody("unsupported_parameter");
  await using provider = await startProvider((response) => response.writeHead(400, json).end(body));
  await using pool = createTestPool(provider.url);
  expect(await readAll(pool.run(hello, { hasLargerTarget: true }))).toMatchObject({ text: body, error: undefined });
});

test("nobody listens: nothing is billed", async () => {
  await using pool = createTestPool(`http://127.0.0.1:${await freePort()}/v1`);
  const { error } = await readAll(pool.run(hello));
  expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "connect" } });
  expect(pool.journal.events).toMatchObject([
    {
      outcome: AttemptOutcome.FAILED,
      providerStatus: 0,
      usageSource: UsageSource.COUNTED,
      usage: { inputTokens: 0, outputTokens: 0 },
    },
  ]);
});

test("no such host, and TLS that is none", async () => {
  await using plain = await listen(createServer((socket) => socket.end("this is not TLS\r\n")));
  for (const url of ["http://host.invalid/v1", `https://127.0.0.1:${plain.port}/v1`]) {
    await using pool = createTestPool(url);
    const { error } = await readAll(pool.run(hello));
    expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "connect" } });
    expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usage: { inputTokens: 0 } }]);
  }
});

test.each<[string, string, boolean]>([
  ["nothing", "", false],
  ["half a head", "HTTP/1.1 200 O", false],
  ["a head", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n", false],
  ["half a body", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{", false],
  ["no HTTP", "\u0000\u0001garbage\r\n\r\n", false],
  ["a head of a stream", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", true],
])("a connection that ends after %s", async (_, bytes, stream) => {
  await using provider = await listen(
    createServer((socket) => {
      socket.once("data", () => socket.end(bytes));
    }),
  );
  await using pool = createTestPool(provider.url);
  const { error } = await readAll(pool.run(stream ? streaming : hello));
  expect(error).toMatchObject({
    reason: ErrorReason.PROVIDER_UNAVAILABLE,
    metadata: { cause: stream ? "protocol" : "connect" },
  });
  // The request was taken, so what it cost is not known; a stream that had nothing to say served nothing.
  expect(pool.journal.events).toMatchObject([
    stream
      ? { outcome: AttemptOutcome.FAILED, usageSource: UsageSource.COUNTED, usage: { inputTokens: 0 } }
      : { outcome: AttemptOutcome.FAILED, usageSource: UsageSource.ESTIMATED, usage: { outputTokens: 32_768 } },
  ]);
});

test("a stream cut at every byte is whole or fails, and is settled once", async () => {
  const bytes = Buffer.from(streamText);
  let cut = 0;
  await using provider = await startProvider((response) => {
    response.writeHead(200, { ...eventStream, "content-length": bytes.length + 1 });
    response.write(bytes.subarray(0, cut), () => response.socket?.destroy());
  });
  await using pool = createTestPool(provider.url);
  const firstContent = streamText.indexOf("Hel");
  const contentEnd = streamText.indexOf("\n\n", firstContent) + 2;
  for (cut = 1; cut <= bytes.length; cut += 1) {
    const { text, error, tail } = await readAll(pool.run(streaming));
    const event = pool.journal.events.at(-1);
    expect(pool.journal.events).toHaveLength(cut);
    expect(streamShown.startsWith(text)).toBe(true);
    if (cut === bytes.length) {
      expect({ text, error }).toEqual({ text: streamShown, error: undefined });
      expect(event).toMatchObject({ outcome: AttemptOutcome.COMPLETED, usageSource: UsageSource.REPORTED });
      continue;
    }
    expect(tail).toBeUndefined();
    expect(text.includes("[DONE]")).toBe(false);
    if (cut < contentEnd) {
      expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
      expect(event).toMatchObject({ outcome: AttemptOutcome.FAILED });
    } else {
      expect(error).toMatchObject({ reason: ErrorReason.STREAM_TRUNCATED, metadata: { provider: "p" } });
      const reported = cut >= streamText.indexOf("data: [DONE]");
      expect(event).toMatchObject({
        outcome: AttemptOutcome.TRUNCATED,
        usageSource: reported ? UsageSource.REPORTED : UsageSource.COUNTED,
      });
    }
  }
  expect(pool.defects).toEqual([]);
}, 30_000);

test.each<[string, string, ErrorReason, AttemptOutcome, string]>([
  [
    "an error first",
    sse('{"error":{"message":"m","code":"boom"}}'),
    ErrorReason.PROVIDER_UNAVAILABLE,
    AttemptOutcome.FAILED,
    "",
  ],
  [
    "a rate limit first",
    sse('{"error":{"message":"m","code":429}}'),
    ErrorReason.PROVIDER_RATE_LIMITED,
    AttemptOutcome.FAILED,
    "",
  ],
  ["no JSON", "data: <html>\n\n", ErrorReason.PROVIDER_UNAVAILABLE, AttemptOutcome.FAILED, ""],
  [
    "an error after content",
    sse(chunk({ content: "a" }), '{"error":{"message":"m"}}'),
    ErrorReason.STREAM_TRUNCATED,
    AttemptOutcome.TRUNCATED,
    sse(chunk({ content: "a" })),
  ],
  [
    "an end without an end",
    sse(chunk({ content: "a" })),
    ErrorReason.STREAM_TRUNCATED,
    AttemptOutcome.TRUNCATED,
    sse(chunk({ content: "a" })),
  ],
  [
    "an end without an end or a blank line",
    sse(chunk({ content: "a" })).trimEnd(),
    ErrorReason.STREAM_TRUNCATED,
    AttemptOutcome.TRUNCATED,
    sse(chunk({ content: "a" })),
  ],
  ["nothing", "", ErrorReason.PROVIDER_UNAVAILABLE, AttemptOutcome.FAILED, ""],
  ["pings only", ": ping\n\n".repeat(3), ErrorReason.PROVIDER_UNAVAILABLE, AttemptOutcome.FAILED, ""],
  [
    "a line of 10 MB",
    `data: {"choices":[{"delta":{"content":"${"x".repeat(10_000_000)}"}}]}\n\n`,
    ErrorReason.PROVIDER_UNAVAILABLE,
    AttemptOutcome.FAILED,
    "",
  ],
  ["a megabyte of pings", ": ping\n\n".repeat(200_000), ErrorReason.PROVIDER_UNAVAILABLE, AttemptOutcome.FAILED, ""],
])("a stream of %s", async (_, text, reason, outcome, shown) => {
  await using provider = await startProvider((response) => response.writeHead(200, eventStream).end(text));
  await using pool = createTestPool(provider.url);
  const answer = await readAll(pool.run(streaming));
  expect(answer).toMatchObject({ text: shown, tail: undefined, error: { reason } });
  expect(pool.journal.events).toMatchObject([{ outcome }]);
});

test("a stream without [DONE] whose choices ended is whole", async () => {
  const text = sse(chunk({ content: "word" }), chunk({}, "stop"));
  await using provider = await startProvider((response) => response.writeHead(200, eventStream).end(text));
  await using pool = createTestPool(provider.url);
  expect(await readAll(pool.run(streaming))).toMatchObject({ text: `${text}data: [DONE]\n\n`, error: undefined });
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.COMPLETED, usageSource: UsageSource.COUNTED, usage: { outputTokens: 1 } },
  ]);
});

test("an answer without usage is counted", async () => {
  const body = JSON.stringify({ id: null, choices: [{ message: { content: "x".repeat(400) } }] });
  await using provider = await startProvider((response) => response.writeHead(200, json).end(body));
  await using pool = createTestPool(provider.url);
  const { tail } = await readAll(pool.run(hello));
  expect(tail).toMatchObject({ usageSource: UsageSource.COUNTED, usage: { outputTokens: 100 } });
  expect(pool.journal.events).toMatchObject([{ providerReplyId: "", usage: { outputTokens: 100 } }]);
  expect(pool.journal.events[0]?.usage?.inputTokens).toBeGreaterThan(5);
});

const usageChunk = JSON.stringify({
  id: "chatcmpl-1",
  choices: [],
  usage: { prompt_tokens: 70, completion_tokens: 8 },
});

test.each<[string, string, boolean]>([
  ["breaks", "", true],
  ["ends without its end", "", false],
  ["reports an error", sse('{"error":{"message":"no","code":500}}'), false],
  ["goes on with what is no JSON", "data: {broken\n\n", false],
])("a stream that reported its usage and then %s is settled as reported, once", async (_, rest, breaks) => {
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    response.write(sse(chunk({ content: "word" }), usageChunk) + rest, () =>
      breaks ? response.destroy() : response.end(),
    );
  });
  await using pool = createTestPool(provider.url);
  const { error, tail } = await readAll(pool.run(streaming));
  expect(error).toMatchObject({ reason: ErrorReason.STREAM_TRUNCATED });
  expect(tail).toBeUndefined();
  expect(pool.journal.events).toMatchObject([
    {
      outcome: AttemptOutcome.TRUNCATED,
      usageSource: UsageSource.REPORTED,
      usage: { inputTokens: 70, outputTokens: 8 },
    },
  ]);
});
