import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { expect, test } from "vitest";
import {
  answerJson,
  attemptRequest,
  createTestPool,
  eventStream,
  hello,
  json,
  principalMetadata,
  type ProviderInit,
  readAll,
  sse,
  startProvider,
  streamEvents,
  streaming,
  streamShown,
  streamText,
  until,
} from "./testing/pool-under-test.ts";

/** undici gives a connection back one turn after the answer's end. */
const connectionFreed = () => new Promise((resolve) => setTimeout(resolve, 5));

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

test.each<[string, Record<string, string>, ProviderInit, string]>([
  ["the client's own", { "anthropic-version": "2026-10-21" }, {}, "2026-10-21"],
  [
    "the client's own, whatever is configured",
    { "anthropic-version": "2026-10-21" },
    { apiVersion: "2025-01-01" },
    "2026-10-21",
  ],
  ["the configured one", {}, { apiVersion: "2025-01-01" }, "2025-01-01"],
  ["the first one", {}, {}, "2023-06-01"],
])("a call of Anthropic's names one version: %s", async (_, headers, init, version) => {
  const answer = '{"type":"message","content":[],"usage":{"input_tokens":1,"output_tokens":1}}';
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answer));
  await using pool = createTestPool(provider.url, { kind: ProviderKind.ANTHROPIC, ...init });
  const { request, ...rest } = attemptRequest({ ...hello, max_tokens: 9 }, {}, anthropicMessages);
  const wire = { ...request.wire, headers };
  const call = pool.client.runAttempt({ ...rest, request: { ...request, wire } }, { metadata: principalMetadata });
  expect((await readAll(call)).error).toBeUndefined();
  expect(provider.received[0]?.headers["anthropic-version"]).toBe(version);
});
