import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createServer } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { createPriceList } from "@weir/price/price";
import { expect, test } from "vitest";
import {
  answerJson,
  attemptRequest,
  chunk,
  createTestPool,
  freePort,
  hello,
  listen,
  principalMetadata,
  type ProviderInit,
  readAll,
  sse,
  startProvider,
  streamEvents,
  streamShown,
  streamText,
  until,
} from "./testing/pool-under-test.ts";

const streaming = { ...hello, stream: true };
/** undici gives a connection back one turn after the answer's end. */
const connectionFreed = () => new Promise((resolve) => setTimeout(resolve, 5));

const json = { "content-type": "application/json" };
const eventStream = { "content-type": "text/event-stream; charset=utf-8" };

test("an answer goes through byte for byte, and is settled as reported", async () => {
  await using provider = await startProvider((response) =>
    response
      .writeHead(200, { ...json, "x-request-id": "r1", "openai-processing-ms": "7", "set-cookie": "a=b", server: "x" })
      .end(answerJson),
  );
  await using pool = createTestPool(provider.url, { headers: { "X-Extra": "1" } });
  const body = '{ "model" :"alias", "unknown":[1.0], "messages":[{"role":"user","content":"hi"}] }';
  const answer = await readAll(pool.run(body));
  expect(answer).toMatchObject({ text: answerJson, error: undefined });
  expect(answer.chunks).toHaveLength(1);
  expect(answer.head).toMatchObject({
    status: 200,
    contentType: "application/json",
    provider: "p",
    model: "target-model",
    headers: { "x-provider-request-id": "r1", "openai-processing-ms": "7" },
  });
  expect(Object.keys(answer.head?.headers ?? {})).toHaveLength(2);
  expect(answer.tail).toMatchObject({ usageSource: UsageSource.REPORTED, usage: { inputTokens: 9, outputTokens: 3 } });

  const [got] = provider.received;
  const [event] = pool.journal.events;
  expect(got?.url).toBe("/v1/chat/completions");
  expect(got?.body).toBe(body.replace('"alias"', '"target-model"'));
  expect(got?.headers).toMatchObject({
    authorization: "Bearer sk-secret",
    "x-client-request-id": event?.attemptId,
    "x-extra": "1",
    "accept-encoding": "identity",
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(got?.body ?? "")),
  });
  expect(event).toMatchObject({
    outcome: AttemptOutcome.COMPLETED,
    usageSource: UsageSource.REPORTED,
    usage: { inputTokens: 9, outputTokens: 3 },
    providerReplyId: "chatcmpl-2",
    providerStatus: 200,
    priceId: "p/*@always",
    principal: { tenant: "acme", key: "k" },
    stream: false,
    alias: "alias",
    requestId: "req-1",
  });
  expect(event?.firstTokenUs).toBeGreaterThan(0n);
  const intent = pool.journal.intents.get(event?.attemptId ?? "");
  expect(intent?.reserved).toMatchObject({ inputTokens: Buffer.byteLength(body), outputTokens: 32_768 });
  expect(intent).not.toHaveProperty("body");
});

test("a stream goes through, without the usage that the client did not ask for", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, eventStream).end(streamText));
  await using pool = createTestPool(provider.url);
  const answer = await readAll(pool.run(streaming));
  expect(answer).toMatchObject({ text: streamShown, error: undefined });
  expect(answer.head).toMatchObject({ status: 200, contentType: "text/event-stream" });
  expect(answer.tail).toMatchObject({ usageSource: UsageSource.REPORTED });
  expect(JSON.parse(provider.received[0]?.body ?? "")).toEqual({
    ...streaming,
    model: "target-model",
    stream_options: { include_usage: true },
  });
  expect(pool.journal.events).toMatchObject([
    {
      outcome: AttemptOutcome.COMPLETED,
      providerReplyId: "chatcmpl-1",
      usage: { inputTokens: 9, outputTokens: 3 },
      stream: true,
    },
  ]);
  const asked = await readAll(pool.run({ ...streaming, stream_options: { include_usage: true } }));
  expect(asked.text).toBe(streamText);
});

test("nothing reaches the caller before the first content, and everything at once with it", async () => {
  let send: (() => void) | undefined;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream).write(`: ping\n\n${sse(streamEvents[0] ?? "")}`);
    send = () => response.end(sse(...streamEvents.slice(1)));
  });
  await using pool = createTestPool(provider.url);
  const messages = pool.run(streaming);
  const first = messages.next();
  let came = false;
  void first.then(() => (came = true));
  await until(() => send !== undefined);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(came).toBe(false);
  send?.();
  const { value } = await first;
  expect(Buffer.from(value?.payload.case === "wire" ? value.payload.value.data : "").toString()).toContain(": ping");
  expect((await readAll(messages)).error).toBeUndefined();
});

test("events that come apart go on apart, at once", async () => {
  let write: ((text: string) => void) | undefined;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream).flushHeaders();
    write = (text) => void (text === "" ? response.end() : response.write(text));
  });
  await using pool = createTestPool(provider.url);
  const messages = pool.run(streaming);
  for (const event of streamEvents.slice(1, -2)) {
    const next = messages.next();
    await until(() => write !== undefined);
    write?.(sse(event));
    const { value } = await next;
    expect(Buffer.from(value?.payload.case === "wire" ? value.payload.value.data : "").toString()).toBe(sse(event));
  }
  write?.(sse("[DONE]"));
  write?.("");
  expect(await readAll(messages)).toMatchObject({ text: sse("[DONE]"), error: undefined });
});

test("[DONE] ends the answer though the connection stays open", async () => {
  await using provider = await startProvider((response) => void response.writeHead(200, eventStream).write(streamText));
  await using pool = createTestPool(provider.url);
  expect(await readAll(pool.run(streaming))).toMatchObject({ text: streamShown, error: undefined });
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
  await until(() => provider.sockets.size === 0); // hung up a second later
});

test("connections are used again", async () => {
  await using provider = await startProvider((response, { body }) => {
    if (body.includes('"stream":true')) response.writeHead(200, eventStream).end(streamText);
    else response.writeHead(200, json).end(answerJson);
  });
  await using pool = createTestPool(provider.url);
  for (let i = 0; i < 6; i += 1) {
    await readAll(pool.run(i % 2 === 0 ? hello : streaming));
    await connectionFreed();
  }
  expect(new Set(provider.received.map(({ socket }) => socket)).size).toBe(1);
});

// Every status, as one table.
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

// Timers.

const ms = durationFromMs;

test("first_token: a provider that takes the request and is silent", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const startMs = performance.now();
  const { error } = await readAll(pool.run(streaming, { timeouts: { firstToken: ms(150) } }));
  expect(performance.now() - startMs).toBeGreaterThan(145);
  expect(performance.now() - startMs).toBeLessThan(1_500);
  expect(error).toMatchObject({
    reason: ErrorReason.PROVIDER_TIMEOUT,
    metadata: { provider: "p", timer: "first_token" },
  });
  await until(() => provider.sockets.size === 0);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usageSource: UsageSource.COUNTED }]);
});

test("first_token: signs of life are no content", async () => {
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    const timer = setInterval(() => response.write(": ping\n\n"), 10);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  const { error } = await readAll(pool.run(streaming, { timeouts: { firstToken: ms(150) } }));
  expect(error).toMatchObject({ metadata: { timer: "first_token" } });
});

test("first_token does not hurry an answer that is no stream", async () => {
  await using provider = await startProvider(
    (response) => void setTimeout(() => response.writeHead(200, json).end(answerJson), 200),
  );
  await using pool = createTestPool(provider.url);
  expect((await readAll(pool.run(hello, { timeouts: { firstToken: ms(50), idle: ms(50) } }))).error).toBeUndefined();
});

test("idle: a stream that stops, and one that goes on slowly", async () => {
  let go = true;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream).write(sse(chunk({ content: "a" })));
    let events = 0;
    const timer = setInterval(() => {
      if (events++ < 10) response.write(sse(chunk({ content: "b" })));
      else if (go) response.end(sse("[DONE]"));
    }, 40);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  expect((await readAll(pool.run(streaming, { timeouts: { idle: ms(200), connect: ms(60) } }))).error).toBeUndefined();
  go = false;
  const { error, text } = await readAll(pool.run(streaming, { timeouts: { idle: ms(200), connect: ms(60) } }));
  expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "idle" } });
  expect(text).toContain('"b"');
  expect(pool.journal.events[1]).toMatchObject({
    outcome: AttemptOutcome.TRUNCATED,
    usageSource: UsageSource.COUNTED,
    usage: { outputTokens: 11 },
  });
  expect(pool.journal.progress_.length).toBeGreaterThan(2);
});

test("total: for a stream that never ends and an answer that never comes", async () => {
  await using provider = await startProvider((response, { body }) => {
    if (!body.includes('"stream":true')) return;
    response.writeHead(200, eventStream);
    const timer = setInterval(() => response.write(sse(chunk({ content: "b" }))), 10);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  for (const request of [streaming, hello]) {
    const { error } = await readAll(pool.run(request, { timeouts: { total: ms(150) } }));
    expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "total" } });
  }
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.TRUNCATED },
    { outcome: AttemptOutcome.FAILED },
  ]);
});

test("connect: a connection that does not come to stand", async () => {
  // TLS against a server that never says a word.
  await using provider = await listen(createServer());
  await using pool = createTestPool(`https://127.0.0.1:${provider.port}/v1`);
  const { error } = await readAll(pool.run(hello, { timeouts: { connect: ms(100) } }));
  expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "connect" } });
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.FAILED, usage: { inputTokens: 0, outputTokens: 0 } },
  ]);
});

// Callers that leave.

test.each([
  ["a stream before its head", true, "hang"],
  ["a stream in the middle", true, "middle"],
  ["an answer before its head", false, "hang"],
  ["an answer in the middle", false, "middle"],
] as const)("a caller that leaves %s", async (_, stream, at) => {
  let closedMs = 0;
  await using provider = await startProvider((response, { socket }) => {
    socket.on("close", () => (closedMs = performance.now()));
    if (at === "hang") return;
    response.writeHead(200, stream ? eventStream : json);
    response.write(stream ? sse(chunk({ content: "word" }), chunk({ content: "word" })) : '{"id":');
  });
  await using pool = createTestPool(provider.url);
  const stop = new AbortController();
  const messages = pool.run(stream ? streaming : hello, {}, { signal: stop.signal });
  const first = messages.next();
  first.catch(() => undefined);
  if (stream && at === "middle") await first;
  else await until(() => provider.received.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const leftMs = performance.now();
  stop.abort();
  expect(pool.journal.events).toHaveLength(1); // in this very turn
  await expect(at === "middle" && stream ? messages.next() : first).rejects.toThrow(CallCancelled);
  await until(() => closedMs > 0);
  expect(closedMs - leftMs).toBeLessThan(100);
  const [event] = pool.journal.events;
  // What is no stream is made, and billed, before its first byte comes.
  const made = !stream && at === "middle";
  // How far work had come that stopped before it is not known.
  const usageSource = stream ? UsageSource.COUNTED : UsageSource.ESTIMATED;
  expect(event).toMatchObject({ outcome: AttemptOutcome.CANCELLED, usageSource });
  expect(event?.usage?.inputTokens).toBeGreaterThan(5);
  expect(event?.usage?.outputTokens).toBe(made ? 32_768 : stream && at === "middle" ? 2 : 0);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
});

test("a reader that stops early hangs up", async () => {
  let closed = false;
  await using provider = await startProvider((response, { socket }) => {
    socket.on("close", () => (closed = true));
    response.writeHead(200, eventStream).write(sse(chunk({ content: "word" })));
  });
  await using pool = createTestPool(provider.url);
  for await (const _ of pool.run(streaming)) break;
  await until(() => closed);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { outputTokens: 1 } }]);
});

test("a caller that left before the call was made costs nothing", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const { error } = await readAll(pool.run(hello, {}, { signal: AbortSignal.abort() }));
  expect(error).toBeInstanceOf(CallCancelled);
  expect(pool.journal.intents.size).toBe(0);
});

test("a caller that leaves while the connection is being made costs nothing", async () => {
  await using provider = await listen(createServer());
  await using pool = createTestPool(`https://127.0.0.1:${provider.port}/v1`);
  const stop = new AbortController();
  const answer = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => pool.journal.intents.size === 1);
  stop.abort();
  expect((await answer).error).toBeInstanceOf(CallCancelled);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { inputTokens: 0 } }]);
});

const billsOn: ProviderInit = { stopsOnDisconnect: false };

test("a provider that bills on is read to its end for its usage", async () => {
  let finish: (() => void) | undefined;
  await using provider = await startProvider((response, { body }) => {
    const stream = body.includes('"stream":true');
    response.writeHead(200, stream ? eventStream : json);
    if (stream) response.write(sse(...streamEvents.slice(0, 2)));
    finish = () => response.end(stream ? sse(...streamEvents.slice(2)) : answerJson);
  });
  await using pool = createTestPool(provider.url, billsOn);
  for (const request of [streaming, hello]) {
    finish = undefined;
    const stop = new AbortController();
    const answer = readAll(pool.run(request, {}, { signal: stop.signal }));
    await until(() => finish !== undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    expect((await answer).error).toBeInstanceOf(CallCancelled);
    expect(pool.pool.status()).toMatchObject({ openAttempts: 1, draining: 1 });
    const before = pool.journal.events.length;
    (finish as unknown as () => void)();
    await until(() => pool.journal.events.length > before);
    expect(pool.journal.events.at(-1)).toMatchObject({
      outcome: AttemptOutcome.CANCELLED,
      usageSource: UsageSource.REPORTED,
      usage: { inputTokens: 9, outputTokens: 3 },
    });
    expect(pool.pool.status()).toMatchObject({ openAttempts: 0, draining: 0 });
  }
});

test("an answer that is read on for its usage may take its time", async () => {
  await using provider = await startProvider((response) => {
    setTimeout(() => response.writeHead(200, json).write(answerJson.slice(0, 20)), 60);
    setTimeout(() => response.end(answerJson.slice(20)), 300);
  });
  await using pool = createTestPool(provider.url, billsOn);
  const stop = new AbortController();
  const answer = readAll(pool.run(hello, { timeouts: { idle: ms(50) } }, { signal: stop.signal }));
  await until(() => provider.received.length === 1);
  stop.abort();
  await answer;
  await until(() => pool.journal.events.length === 1);
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.REPORTED, usage: { outputTokens: 3 } },
  ]);
});

test("a provider that bills on and never ends is an estimate", async () => {
  await using provider = await startProvider((response, { body }) => {
    if (body.includes('"stream":true')) response.writeHead(200, eventStream).write(sse(chunk({ content: "word" })));
  });
  {
    await using pool = createTestPool(provider.url, billsOn);
    for (const request of [streaming, hello]) {
      const stop = new AbortController();
      const answer = readAll(
        pool.run({ ...request, max_tokens: 77 }, { timeouts: { total: ms(300) } }, { signal: stop.signal }),
      );
      await until(() => provider.received.length > 0);
      await new Promise((resolve) => setTimeout(resolve, 50));
      stop.abort();
      await answer;
    }
    await until(() => pool.journal.events.length === 2);
    expect(pool.journal.events).toMatchObject([
      { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.ESTIMATED, usage: { outputTokens: 1 } },
      { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.ESTIMATED, usage: { outputTokens: 77 } },
    ]);
  }
});

test("closing the pool settles what is open", async () => {
  await using provider = await startProvider(
    (response) => void response.writeHead(200, eventStream).write(sse(chunk({ content: "word" }))),
  );
  const pool = createTestPool(provider.url);
  const messages = pool.run(streaming);
  await messages.next();
  await pool.pool.close();
  expect((await readAll(messages)).error).toMatchObject({ reason: ErrorReason.STREAM_TRUNCATED });
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { outputTokens: 1 } }]);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
});

// Pace and limits.

test("a slow reader pauses the provider", async () => {
  const piece = sse(chunk({ content: "x".repeat(4_000) }));
  let written = 0;
  let blocked = false;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    const more = () => {
      while (written < 60_000_000) {
        written += piece.length;
        if (!response.write(piece)) {
          blocked = true;
          response.once("drain", () => {
            blocked = false;
            more();
          });
          return;
        }
      }
      response.end(sse("[DONE]"));
    };
    more();
  });
  await using pool = createTestPool(provider.url);
  const messages = pool.run(streaming, { timeouts: { idle: ms(300) } });
  const first = await messages.next();
  let last = -1;
  let standsSinceMs = performance.now();
  // Until nothing has moved for longer than a stalled provider would be given.
  await until(() => {
    const nowMs = performance.now();
    if (!blocked || written !== last) standsSinceMs = nowMs;
    last = written;
    return nowMs - standsSinceMs > 700;
  });
  expect(written).toBeLessThan(20_000_000); // what the sockets of the machine hold
  const rest = await readAll(messages);
  expect(rest.error).toBeUndefined();
  const firstBytes = first.value?.payload.case === "wire" ? first.value.payload.value.data.length : 0;
  expect(firstBytes + rest.text.length).toBe(written + sse("[DONE]").length);
}, 20_000);

test("calls beyond the limit wait, and beyond the queue are refused", async () => {
  const waiting: (() => void)[] = [];
  await using provider = await startProvider((response) => {
    waiting.push(() => response.writeHead(200, json).end(answerJson));
  });
  await using pool = createTestPool(provider.url, { callsMax: 2, queueMax: 2 });
  const answers = [1, 2, 3, 4].map(() => readAll(pool.run(hello)));
  await until(() => waiting.length === 2);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 2, waiting: 2 }]);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.OVERLOADED, retryAfterMs: 1_000 });
  expect(pool.journal.intents.size).toBe(2); // those that wait have not begun
  // One of those that wait leaves, and its place is free.
  for (let served = 0; served < 4; served += 1) {
    await until(() => waiting.length > 0);
    waiting.shift()?.();
  }
  expect((await Promise.all(answers)).map(({ error }) => error)).toEqual([undefined, undefined, undefined, undefined]);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 0, waiting: 0 }]);
});

test("a caller that leaves the queue gives up its place, and one that waits too long is refused", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url, { callsMax: 1, queueMax: 1 });
  const holder = new AbortController();
  void readAll(pool.run(hello, {}, { signal: holder.signal }));
  await until(() => provider.received.length === 1);
  const stop = new AbortController();
  const leaving = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => pool.pool.status().providers[0]?.waiting === 1);
  stop.abort();
  expect((await leaving).error).toBeInstanceOf(CallCancelled);
  expect(pool.pool.status().providers[0]?.waiting).toBe(0);
  const late = await readAll(pool.run(hello, { timeouts: { total: ms(80) } }));
  expect(late.error).toMatchObject({ reason: ErrorReason.OVERLOADED });
  expect(pool.journal.intents.size).toBe(1);
  holder.abort();
});

// What is refused before anything leaves.

test("missing requests, unknown providers and missing principals", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const { request: _, ...empty } = attemptRequest(hello);
  const cases: [Promise<{ error: unknown }>, object][] = [
    [readAll(pool.client.runAttempt(empty, { metadata: principalMetadata })), { reason: ErrorReason.INVALID_REQUEST }],
    [
      readAll(pool.run(hello, { target: { provider: "q", model: "m" } })),
      { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { provider: "q", cause: "connect" } },
    ],
    [readAll(pool.client.runAttempt(attemptRequest(hello))), { reason: ErrorReason.INVALID_REQUEST }],
    [
      readAll(pool.run(hello, {}, { metadata: { "weir-principal-bin": "!!!" } })),
      { reason: ErrorReason.INVALID_REQUEST },
    ],
  ];
  for (const [answer, error] of cases) expect((await answer).error).toMatchObject(error);
  expect(provider.received).toEqual([]);
  expect(pool.journal.intents.size).toBe(0);
});

test("a model without a price is called only when that is allowed", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url, {}, { prices: () => createPriceList([]) });
  expect((await readAll(pool.run(hello))).error).toMatchObject({
    reason: ErrorReason.MODEL_UNPRICED,
    metadata: { model: "alias" },
  });
  expect((await readAll(pool.run(hello, { allowUnpriced: true }))).error).toBeUndefined();
  expect(pool.journal.events).toMatchObject([{ priceId: "" }]);
});

test("an attempt is made once", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url);
  const { attemptId } = attemptRequest(hello);
  expect((await readAll(pool.run(hello, { attemptId }))).error).toBeUndefined();
  expect((await readAll(pool.run(hello, { attemptId }))).error).toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
  expect(provider.received).toHaveLength(1);
});

test("without the journal nothing leaves", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url, { callsMax: 1, queueMax: 0 });
  const full = new WeirError(ErrorReason.STORE_UNAVAILABLE);
  pool.journal.intend = () => {
    throw full;
  };
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  pool.journal.intend = () => Promise.reject(full);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  expect(provider.received).toEqual([]);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
});

test("in strict mode the call leaves when the intent is on disk, and not for a caller that left meanwhile", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url);
  const { intend } = pool.journal;
  let written: (() => void) | undefined;
  pool.journal.intend = (intent) => {
    void intend(intent);
    return new Promise<void>((resolve) => (written = resolve));
  };
  const answer = readAll(pool.run(hello));
  await until(() => written !== undefined);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(provider.received).toEqual([]);
  written?.();
  expect((await answer).error).toBeUndefined();

  written = undefined;
  const stop = new AbortController();
  const left = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => written !== undefined);
  stop.abort();
  (written as unknown as () => void)();
  expect((await left).error).toBeInstanceOf(CallCancelled);
  await until(() => pool.journal.events.length === 2);
  expect(pool.journal.events[1]).toMatchObject({
    outcome: AttemptOutcome.CANCELLED,
    usage: { inputTokens: 0, outputTokens: 0 },
  });
  expect(provider.received).toHaveLength(1);
});

test("a reload keeps connections, and open calls to what it drops go on", async () => {
  let finish: (() => void) | undefined;
  await using old = await startProvider((response, { body }) => {
    if (body.includes('"stream":true')) {
      response.writeHead(200, eventStream).write(sse(chunk({ content: "a" })));
      finish = () => response.end(sse("[DONE]"));
    } else response.writeHead(200, json).end(answerJson);
  });
  await using fresh = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(old.url);
  await readAll(pool.run(hello));
  await connectionFreed();
  pool.reload(old.url, { apiKey: "sk-new" });
  await readAll(pool.run(hello));
  expect(new Set(old.received.map(({ socket }) => socket)).size).toBe(1);
  expect(old.received[1]?.headers.authorization).toBe("Bearer sk-new");

  const open = pool.run(streaming);
  await open.next();
  pool.reload(fresh.url);
  expect((await readAll(pool.run(hello))).error).toBeUndefined();
  expect(fresh.received).toHaveLength(1);
  finish?.();
  expect((await readAll(open)).error).toBeUndefined();
  await until(() => old.sockets.size === 0);
});
