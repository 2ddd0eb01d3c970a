import type { JsonObject } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { describe, expect, test } from "vitest";
import { startBatching, vectorOf, vectorsIn } from "./batch-testing.ts";

const sumOf = (events: readonly UsageEvent[]) => events.reduce((sum, { usage }) => sum + (usage?.inputTokens ?? 0), 0);

test("calls that wait together leave as one; each gets its own vectors, tokens, intent and settlement", async () => {
  await using at = await startBatching();
  const first = await at.ask({ input: "first" });
  const inputs = ["a", ["bb", "cc"], ["a long text, of which there is only one"]];
  const others = [];
  for (const input of inputs) others.push(await at.ask({ input, user: `user of ${input.length}` }));
  expect(at.calls).toHaveLength(1);
  expect(at.pool.journal.intents.size).toBe(1);
  await at.endWaits();
  const joined = await at.called(2);
  expect(joined.body).toEqual({ model: "target-model", input: inputs.flat() });
  expect(joined.received.url).toBe("/v1/embeddings");
  expect(joined.received.headers.authorization).toBe("Bearer sk-secret");
  expect(at.pool.journal.intents.size).toBe(4);
  expect(at.pool.pool.status().providers).toMatchObject([{ calls: 2, waiting: 0 }]);

  joined.answer(101);
  for (const [index, { id, answer }] of others.entries()) {
    const { text, head, tail, error } = await answer;
    expect(error).toBeUndefined();
    expect(vectorsIn(text)).toEqual([inputs[index]].flat().map(vectorOf));
    const [event, ...rest] = at.settled(id);
    expect(rest).toEqual([]);
    expect(event).toMatchObject({
      outcome: AttemptOutcome.COMPLETED,
      usageSource: UsageSource.COUNTED,
      usage: { outputTokens: 0 },
      providerStatus: 200,
    });
    expect(JSON.parse(text)).toMatchObject({
      object: "list",
      model: "served",
      usage: { prompt_tokens: event?.usage?.inputTokens, total_tokens: event?.usage?.inputTokens },
    });
    expect(head).toMatchObject({ status: 200, contentType: "application/json", provider: "p", model: "target-model" });
    expect(tail).toMatchObject({ usage: event?.usage, usageSource: UsageSource.COUNTED });
  }
  expect(sumOf(at.pool.journal.events)).toBe(101);

  at.calls[0]?.answer(7);
  expect((await first.answer).error).toBeUndefined();
  expect(at.settled(first.id)).toMatchObject([{ usageSource: UsageSource.REPORTED, usage: { inputTokens: 7 } }]);
  expect(at.pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
  expect(at.pool.defects).toEqual([]);
});

test("a call that finds none like it under way does not wait, nor does one that waited in vain change", async () => {
  await using at = await startBatching();
  const body = { input: "one", user: "u", new_member: 1 };
  const first = await at.ask(body);
  (await at.called(1)).answer(1);
  await first.answer;
  const second = await at.ask(body);
  const third = await at.ask(body);
  expect(at.waits()).toBe(1);
  await at.endWaits();
  await at.called(3);
  for (const call of at.calls.slice(1)) call.answer(1);
  await Promise.all([second.answer, third.answer]);
  for (const call of at.calls) expect(call.body).toEqual({ model: "target-model", ...body });
  for (const event of at.pool.journal.events) expect(event.usageSource).toBe(UsageSource.REPORTED);
});

test("nothing is joined unless it is configured, but for Ollama", async () => {
  await using off = await startBatching({ embeddingBatch: {} });
  for (let i = 0; i < 3; i += 1) await off.ask({ input: "one" });
  await off.called(3);
  expect(off.waits()).toBe(0);
  await using ollama = await startBatching({ embeddingBatch: {}, kind: ProviderKind.OLLAMA });
  const asked = [];
  for (let i = 0; i < 3; i += 1) asked.push(await ollama.ask({ input: `text ${i}` }));
  expect(ollama.waits()).toBe(1);
  await ollama.endWaits();
  const joined = await ollama.called(2);
  expect(joined.inputs).toEqual(["text 1", "text 2"]);
});

test.each([
  ["dimensions", { dimensions: 2 }],
  ["encoding", { encoding_format: "base64" }],
  ["tokens", { input: [1, 2] }],
  ["a member that we do not know", { new_member: 1 }],
])("calls that differ in %s are not joined", async (_, difference) => {
  await using at = await startBatching();
  await at.ask({ input: "first" });
  await at.ask({ input: "second" });
  await at.ask({ input: "other", ...difference });
  await at.ask({ input: "other", ...difference });
  await at.ask({ input: "third" });
  await at.endWaits();
  await at.called(4);
  expect(at.calls.map(({ inputs }) => inputs.length).sort((a, b) => a - b)).toEqual([1, 1, 1, 2]);
});

test("nor are those for different models", async () => {
  await using at = await startBatching();
  for (const model of ["m1", "m2", "m1", "m2"]) await at.ask({ input: "text" }, { target: { provider: "p", model } });
  await at.endWaits();
  await at.called(4);
});

test("tokens are joined with tokens, and divided by their number", async () => {
  await using at = await startBatching();
  await at.ask({ input: [9] });
  const one = await at.ask({ input: [1] });
  const three = await at.ask({ input: [[1, 2], [3]] });
  await at.endWaits();
  const joined = await at.called(2);
  expect(joined.inputs).toEqual([[1], [1, 2], [3]]);
  joined.answer(4);
  await Promise.all([one.answer, three.answer]);
  expect(at.settled(one.id)).toMatchObject([{ usage: { inputTokens: 1 } }]);
  expect(at.settled(three.id)).toMatchObject([{ usage: { inputTokens: 3 } }]);
});

describe("bounds", () => {
  test("a call that is full leaves at once, and what does not fit waits for the next", async () => {
    await using at = await startBatching({ embeddingBatch: { wait: durationFromMs(777), inputsMax: 4 } });
    await at.ask({ input: "first" });
    await at.ask({ input: ["a", "b"] });
    await at.ask({ input: ["c", "d"] });
    expect((await at.called(2)).inputs).toEqual(["a", "b", "c", "d"]);
    await at.ask({ input: ["e"] });
    await at.ask({ input: ["f"] });
    await at.ask({ input: ["g", "h", "i"] });
    expect((await at.called(3)).inputs).toEqual(["e", "f"]);
    expect(at.waits()).toBe(1);
  });

  test("who leaves makes room for others", async () => {
    const bounds = { wait: durationFromMs(777), inputsMax: 3, bytesMax: 1_024 };
    await using at = await startBatching({ embeddingBatch: bounds });
    await at.ask({ input: "first" });
    const leaving = await at.ask({ input: ["a", "x".repeat(600)] });
    leaving.leave();
    await at.ask({ input: "b" });
    await at.ask({ input: "y".repeat(600) });
    expect(at.calls).toHaveLength(1);
    await at.endWaits();
    expect((await at.called(2)).inputs).toEqual(["b", "y".repeat(600)]);
  });

  test("a call that would fill one by itself is made at once", async () => {
    await using at = await startBatching({
      embeddingBatch: { wait: durationFromMs(777), inputsMax: 3, bytesMax: 1_024 },
    });
    await at.ask({ input: "first" });
    await at.ask({ input: ["a", "b", "c"] });
    await at.ask({ input: "x".repeat(1_024) });
    await at.called(3);
    expect(at.waits()).toBe(0);
  });

  test("a call leaves before its bytes are too many", async () => {
    await using at = await startBatching({ embeddingBatch: { wait: durationFromMs(777), bytesMax: 1_024 } });
    await at.ask({ input: "first" });
    await at.ask({ input: "a".repeat(600) });
    await at.ask({ input: "b".repeat(600) });
    expect((await at.called(2)).inputs).toEqual(["a".repeat(600)]);
  });

  test("a vendor that takes fewer inputs gets fewer", async () => {
    await using at = await startBatching({
      kind: ProviderKind.BEDROCK,
      region: "eu-central-1",
      apiKey: "",
      aws: { accessKeyId: "AKID", secretAccessKey: "secret" },
    });
    const target = { provider: "p", model: "cohere.embed-v4:0" };
    const texts = Array.from({ length: 50 }, (_, index) => `text ${index}`);
    for (let i = 0; i < 3; i += 1) await at.ask({ input: texts }, { target });
    // 96 is the most that Cohere takes.
    const call = await at.called(2);
    expect(call.inputs).toHaveLength(50);
    await at.ask({ input: texts.slice(0, 3) }, { target });
    await at.endWaits();
    const joined = await at.called(3);
    expect(joined.inputs).toHaveLength(53);
    expect(joined.received.headers.authorization).toMatch(/^AWS4-HMAC-SHA256 /);
  });

  test("a joined call takes one place under the provider's limit, and waits for it", async () => {
    await using at = await startBatching({ callsMax: 1 });
    const first = await at.ask({ input: "first" });
    const second = await at.ask({ input: "second" });
    const third = await at.ask({ input: "third" });
    await at.endWaits();
    expect(at.calls).toHaveLength(1);
    expect(at.pool.pool.status().providers).toEqual([{ id: "p", calls: 1, waiting: 1 }]);
    expect(at.pool.journal.intents.size).toBe(1);
    at.calls[0]?.answer(1);
    await first.answer;
    (await at.called(2)).answer(2);
    await Promise.all([second.answer, third.answer]);
    expect(at.pool.journal.events).toHaveLength(3);
  });

  test("there is no place to wait for one: every member is told", async () => {
    await using at = await startBatching({ callsMax: 1, queueMax: 0 });
    await at.ask({ input: "first" });
    const asked = [await at.ask({ input: "second" }), await at.ask({ input: "third" })];
    await at.endWaits();
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
      expect(at.pool.journal.intents.has(id)).toBe(false);
    }
  });
});

describe("other dialects", () => {
  test("requests to Ollama are joined whatever encoding their clients want", async () => {
    await using at = await startBatching({ kind: ProviderKind.OLLAMA });
    await at.ask({ input: "first" });
    const plain = await at.ask({ input: "a" });
    const encoded = await at.ask({ input: ["bb", "c"], encoding_format: "base64", user: "u" });
    await at.endWaits();
    const joined = await at.called(2);
    expect(joined.body).toEqual({ model: "target-model", input: ["a", "bb", "c"], truncate: false });
    joined.send(200, JSON.stringify({ embeddings: [[1], [2], [3]], prompt_eval_count: 5 } satisfies JsonObject));
    expect(vectorsIn((await plain.answer).text)).toEqual([[1]]);
    const { text, head } = await encoded.answer;
    expect(vectorsIn(text)).toEqual(["AAAAQA==", "AABAQA=="]);
    expect(head?.warnings.map(({ param }) => param)).toEqual(["user"]);
    expect(sumOf(at.pool.journal.events)).toBe(5);
  });

  test("a member whose encoding cannot hold its vector fails alone, and is billed", async () => {
    await using at = await startBatching({ kind: ProviderKind.OLLAMA });
    await at.ask({ input: "first" });
    const plain = await at.ask({ input: "a" });
    const encoded = await at.ask({ input: "b", encoding_format: "base64" });
    await at.endWaits();
    (await at.called(2)).send(200, JSON.stringify({ embeddings: [[1e300], [1e300]], prompt_eval_count: 5 }));
    expect(vectorsIn((await plain.answer).text)).toEqual([[1e300]]);
    expect((await encoded.answer).error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    expect(at.settled(encoded.id)).toMatchObject([{ outcome: AttemptOutcome.FAILED }]);
    expect(sumOf(at.pool.journal.events)).toBe(5);
  });
});
