import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/config_pb";
import { expect, test } from "vitest";
import { attemptRequest, createTestPool, hello, type ProviderInit, startProvider } from "./testing/pool-under-test.ts";

const json = { "content-type": "application/json" };
const anthropic: ProviderInit = { kind: ProviderKind.ANTHROPIC, apiKey: "k" };
const claude = { model: "alias", max_tokens: 1, messages: [{ role: "user", content: "hi" }] };

function counting(body: object, codec = openaiChat) {
  const { target, request } = attemptRequest(body, {}, codec);
  return { target, request };
}

test("Anthropic counts what an Anthropic client sends, and gets no member that it would refuse", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end('{"input_tokens":42}'));
  await using pool = createTestPool(provider.url, anthropic);
  const count = await pool.client.countTargetTokens(counting(claude, anthropicMessages));
  expect(count).toMatchObject({ inputTokens: 42, estimated: false });
  const [got] = provider.received;
  expect(got?.url).toBe("/v1/messages/count_tokens");
  expect(got?.headers).toMatchObject({ "x-api-key": "k", "anthropic-version": "2023-06-01" });
  expect(JSON.parse(got?.body ?? "")).toEqual({ model: "target-model", messages: claude.messages });
  expect(pool.journal.intents.size).toBe(0);
});

test("and what another client sends, translated", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end('{"input_tokens":5}'));
  await using pool = createTestPool(provider.url, anthropic);
  expect(await pool.client.countTargetTokens(counting(hello))).toMatchObject({ inputTokens: 5, estimated: false });
  expect(JSON.parse(provider.received[0]?.body ?? "")).not.toHaveProperty("max_tokens");
});

test("Gemini counts under its own verb", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end('{"totalTokens":6}'));
  await using pool = createTestPool(provider.url, { kind: ProviderKind.GEMINI });
  expect(await pool.client.countTargetTokens(counting(hello))).toMatchObject({ inputTokens: 6, estimated: false });
  expect(provider.received[0]?.url).toBe("/v1/models/target-model:countTokens");
  expect(JSON.parse(provider.received[0]?.body ?? "")).toMatchObject({
    generateContentRequest: { model: "models/target-model", contents: [{ role: "user" }] },
  });
});

test.each<[string, number, string]>([
  ["fails", 500, "{}"],
  ["limits us", 429, "{}"],
  ["answers strangely", 200, '{"input_tokens":"many"}'],
  ["answers too much", 200, `{"x":"${"y".repeat(100_000)}"}`],
])("a vendor that %s is replaced by a guess", async (_, status, body) => {
  await using provider = await startProvider((response) => response.writeHead(status, json).end(body));
  await using pool = createTestPool(provider.url, anthropic);
  const count = await pool.client.countTargetTokens(counting(claude, anthropicMessages));
  expect(count.estimated).toBe(true);
  expect(count.inputTokens).toBeGreaterThan(5);
});

test("a provider that cannot count is not asked", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  expect((await pool.client.countTargetTokens(counting(hello))).estimated).toBe(true);
  expect(provider.received).toEqual([]);
});

test("what a vendor finds at fault is the caller's fault", async () => {
  await using provider = await startProvider((response) =>
    response.writeHead(400, json).end('{"type":"error","error":{"type":"invalid_request_error","message":"CANARY"}}'),
  );
  await using pool = createTestPool(provider.url, anthropic);
  const failure = pool.client.countTargetTokens(counting(claude, anthropicMessages));
  await expect(failure).rejects.toMatchObject({ reason: ErrorReason.PROVIDER_REJECTED });
  await expect(failure).rejects.not.toThrow("CANARY");
});
