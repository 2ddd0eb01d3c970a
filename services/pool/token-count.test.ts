import { generateKeyPairSync } from "node:crypto";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import {
  attemptRequest,
  createTestPool,
  hello,
  json,
  type ProviderInit,
  startProvider,
  until,
} from "./testing/pool-under-test.ts";

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

test("a count takes a place under the limit of calls, and gives it back", async () => {
  const waiting: (() => void)[] = [];
  await using provider = await startProvider((response) => {
    waiting.push(() => response.writeHead(200, json).end('{"input_tokens":42}'));
  });
  await using pool = createTestPool(provider.url, { ...anthropic, callsMax: 1, queueMax: 1 });
  const count = () => pool.client.countTargetTokens(counting(claude, anthropicMessages));
  const first = count();
  await until(() => waiting.length === 1);
  const second = count();
  await until(() => pool.pool.status().providers[0]?.waiting === 1);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 1, waiting: 1 }]);
  expect(await count()).toMatchObject({ estimated: true }); // the queue is full
  waiting.shift()?.();
  await until(() => waiting.length === 1);
  waiting.shift()?.();
  expect(await Promise.all([first, second])).toMatchObject([{ inputTokens: 42 }, { inputTokens: 42 }]);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 0, waiting: 0 }]);
});

test("who leaves hangs up, whether asked already or waiting, and the place is free", async () => {
  let closed = 0;
  await using provider = await startProvider((_, { socket }) => socket.on("close", () => (closed += 1)));
  await using pool = createTestPool(provider.url, { ...anthropic, callsMax: 1 });
  const leavers = [new AbortController(), new AbortController()];
  const counts = leavers.map(({ signal }) =>
    pool.client.countTargetTokens(counting(claude, anthropicMessages), { signal }),
  );
  const failures = counts.map((count) => expect(count).rejects.toThrow(CallCancelled));
  await until(() => provider.received.length === 1 && pool.pool.status().providers[0]?.waiting === 1);
  for (const leaver of leavers.toReversed()) leaver.abort();
  await Promise.all(failures);
  await until(() => closed === 1 && pool.pool.status().providers[0]?.calls === 0);
  expect(provider.received).toHaveLength(1);
});

test("a credential that a count found limited is used again at the date that the vendor names", async () => {
  const date = new Date(0).toUTCString();
  await using provider = await startProvider((response) =>
    response.writeHead(429, { ...json, "retry-after": date }).end("{}"),
  );
  await using pool = createTestPool(provider.url, { ...anthropic, apiKey: "", apiKeys: ["a", "b"] });
  for (let count = 0; count < 3; count += 1) await pool.client.countTargetTokens(counting(claude, anthropicMessages));
  expect(provider.received.map(({ headers }) => headers["x-api-key"])).toEqual(["a", "b", "a"]);
});

test("a credential that cannot be had is replaced by a guess", async () => {
  await using issuer = await startProvider((response) => response.writeHead(400, json).end("{}"));
  await using provider = await startProvider();
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  await using pool = createTestPool(provider.url, {
    kind: ProviderKind.VERTEX,
    apiKey: "",
    project: "p",
    tokenUrl: issuer.url,
    credentials: JSON.stringify({
      type: "service_account",
      client_email: "a@p.iam.gserviceaccount.com",
      private_key: privateKey.export({ type: "pkcs8", format: "pem" }),
    }),
  });
  expect(await pool.client.countTargetTokens(counting(hello))).toMatchObject({ estimated: true });
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 0, waiting: 0 }]);
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
