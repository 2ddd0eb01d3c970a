import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import { createFakeJournal, type ProviderInit } from "../testing/pool-under-test.ts";
import { startBatching, turns, vectorOf, vectorsIn } from "./batch-testing.ts";

type Batching = Awaited<ReturnType<typeof startBatching>>;

/** One call under way, and so many behind it that wait together. */
async function waiting(at: Batching, count: number) {
  await at.ask({ input: "first" });
  const asked = [];
  for (let index = 0; index < count; index += 1) asked.push(await at.ask({ input: `text ${index}` }));
  return asked;
}

/** The same, joined and under way. */
async function joined(count: number, init: ProviderInit = {}) {
  const at = await startBatching(init);
  const asked = await waiting(at, count);
  await at.endWaits();
  const call = await at.called(2);
  return { at, asked, call, [Symbol.asyncDispose]: () => at[Symbol.asyncDispose]() };
}

const refusal = JSON.stringify({ error: { message: "no", type: "invalid_request_error", code: null, param: null } });

describe("a refused call", () => {
  test("is made once more for each by itself, so that a bad neighbour fails alone", async () => {
    await using test = await joined(3);
    const { at, asked, call } = test;
    call.send(400, refusal);
    await at.called(5);
    const singles = at.calls.slice(2);
    expect(new Set(singles.map(({ body }) => body["input"]))).toEqual(new Set(["text 0", "text 1", "text 2"]));
    for (const single of singles) {
      if (single.body["input"] === "text 1") single.send(400, refusal);
      else single.answer(3);
    }
    const answers = await Promise.all(asked.map(({ answer }) => answer));
    expect(answers.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
    expect(answers.map(({ head }) => head?.status)).toEqual([200, 400, 200]);
    expect(answers[1]?.text).toBe(refusal);
    expect(vectorsIn(answers[2]?.text ?? "")).toEqual([vectorOf("text 2")]);
    const reported = {
      outcome: AttemptOutcome.COMPLETED,
      usageSource: UsageSource.REPORTED,
      usage: { inputTokens: 3 },
    };
    const refused = { outcome: AttemptOutcome.REJECTED, usageSource: UsageSource.COUNTED, usage: { inputTokens: 0 } };
    expect(asked.map(({ id }) => at.settled(id))).toMatchObject([[reported], [refused], [reported]]);
    expect(at.pool.journal.intents.size).toBe(4);
  });

  test("keeps others from being joined for a while", async () => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    call.send(413, refusal);
    await at.called(4);
    await at.ask({ input: "later" });
    await at.called(5);
    expect(at.waits()).toBe(0);
    for (const single of at.calls.slice(2)) single.answer(1);
    await Promise.all(asked.map(({ answer }) => answer));
  });

  test("is not made again for who has gone", async () => {
    await using test = await joined(3);
    const { at, asked, call } = test;
    asked[1]?.leave();
    await turns();
    call.send(400, refusal);
    await at.called(4);
    expect(at.calls.slice(2).map(({ body }) => body["input"])).toEqual(["text 0", "text 2"]);
    expect(at.settled(asked[1]?.id ?? "")).toMatchObject([
      { outcome: AttemptOutcome.CANCELLED, usage: { inputTokens: 0 } },
    ]);
  });

  test("that is being made again ends with its own caller", async () => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    call.send(400, refusal);
    await at.called(4);
    asked[0]?.leave();
    await turns();
    const [left, stays] = at.calls.slice(2);
    stays?.answer(1);
    expect((await asked[1]?.answer)?.error).toBeUndefined();
    expect(left?.isHungUp()).toBe(true);
    expect(at.settled(asked[0]?.id ?? "")).toMatchObject([{ outcome: AttemptOutcome.CANCELLED }]);
  });

  test("waits for a place again, and gives up with its caller", async () => {
    await using at = await startBatching({ callsMax: 2 });
    const asked = await waiting(at, 3);
    await at.endWaits();
    (await at.called(2)).send(400, refusal);
    await at.called(3);
    expect(at.pool.pool.status().providers).toEqual([{ id: "p", calls: 2, waiting: 2 }]);
    asked[1]?.leave();
    await turns();
    expect(at.settled(asked[1]?.id ?? "")).toMatchObject([
      { outcome: AttemptOutcome.CANCELLED, usage: { inputTokens: 0 } },
    ]);
    at.calls[2]?.answer(1);
    (await at.called(4)).answer(1);
    expect((await asked[0]?.answer)?.error).toBeUndefined();
    expect((await asked[2]?.answer)?.error).toBeUndefined();
    expect(at.pool.journal.events).toHaveLength(3);
  });
});

describe("a call that fails is each member's failure", () => {
  test.each([
    ["by an outage", 500, refusal, { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "server" } }],
    ["by a limit", 429, refusal, { reason: ErrorReason.PROVIDER_RATE_LIMITED }],
    ["by our key", 401, refusal, { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "credential" } }],
  ])("%s", async (_, status, body, failure) => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    call.send(status, body);
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject(failure);
      expect(at.settled(id)).toMatchObject([
        { outcome: AttemptOutcome.FAILED, providerStatus: status, usage: { inputTokens: 0 } },
      ]);
    }
    expect(at.calls).toHaveLength(2);
  });

  test.each([
    ["no JSON", "{"],
    ["too few vectors", '{"data":[{"index":0,"embedding":[1]}]}'],
    ["a vector twice", '{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}'],
    ["vectors of two lengths", '{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}'],
  ])("by %s", async (_, body) => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    call.send(200, body);
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ metadata: { cause: "protocol" } });
      expect(at.settled(id)).toMatchObject([{ outcome: AttemptOutcome.FAILED, usageSource: UsageSource.ESTIMATED }]);
    }
    const reserved = [...at.pool.journal.intents.values()].slice(1).map((intent) => intent.reserved.inputTokens ?? 0);
    const settled = at.pool.journal.events.map(({ usage }) => usage?.inputTokens ?? 0);
    expect(settled.reduce((a, b) => a + b)).toBe(reserved.reduce((a, b) => a + b));
  });

  test("by a connection that breaks", async () => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    call.breakOff();
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ metadata: { cause: "connect" } });
      expect(at.settled(id)).toHaveLength(1);
    }
  });
});

describe("a caller that leaves", () => {
  test("before the call was sent is not in it, and not on record", async () => {
    await using at = await startBatching();
    const asked = await waiting(at, 3);
    asked[1]?.leave();
    expect((await asked[1]?.answer)?.error).toBeInstanceOf(CallCancelled);
    await at.endWaits();
    expect((await at.called(2)).inputs).toEqual(["text 0", "text 2"]);
    expect(at.pool.journal.intents.has(asked[1]?.id ?? "")).toBe(false);
  });

  test("and leaves nobody, or one, behind changes nothing for them", async () => {
    await using at = await startBatching();
    const asked = await waiting(at, 3);
    asked[0]?.leave();
    asked[2]?.leave();
    await turns();
    await at.endWaits();
    const alone = await at.called(2);
    expect(alone.body).toEqual({ model: "target-model", input: "text 1" });
    const last = await at.ask({ input: "last" });
    last.leave();
    await turns();
    await at.endWaits();
    alone.answer(1);
    expect((await asked[1]?.answer)?.error).toBeUndefined();
    expect(at.calls).toHaveLength(2);
    expect(at.pool.journal.intents.size).toBe(2);
  });

  test("while the call waits for a place takes it with him when he was the last", async () => {
    await using at = await startBatching({ callsMax: 1 });
    const asked = await waiting(at, 2);
    await at.endWaits();
    for (const { leave } of asked) leave();
    await turns();
    expect(at.pool.pool.status().providers).toEqual([{ id: "p", calls: 1, waiting: 0 }]);
    expect(at.pool.journal.intents.size).toBe(1);
  });

  test("while it is under way is billed his share, and the others get their answers", async () => {
    await using test = await joined(3);
    const { at, asked, call } = test;
    asked[1]?.leave();
    expect((await asked[1]?.answer)?.error).toBeInstanceOf(CallCancelled);
    await turns();
    expect(call.isHungUp()).toBe(false);
    expect(at.pool.journal.events).toEqual([]);
    call.answer(30);
    expect(vectorsIn((await asked[0]?.answer)?.text ?? "")).toEqual([vectorOf("text 0")]);
    expect(vectorsIn((await asked[2]?.answer)?.text ?? "")).toEqual([vectorOf("text 2")]);
    const share = { usageSource: UsageSource.COUNTED, usage: { inputTokens: 10 } };
    expect(asked.map(({ id }) => at.settled(id))).toMatchObject([
      [{ outcome: AttemptOutcome.COMPLETED, ...share }],
      [{ outcome: AttemptOutcome.CANCELLED, ...share }],
      [{ outcome: AttemptOutcome.COMPLETED, ...share }],
    ]);
  });

  test("last of all hangs up", async () => {
    await using test = await joined(2);
    const { at, asked, call } = test;
    for (const { leave } of asked) leave();
    for (let tries = 0; !call.isHungUp() && tries < 100; tries += 1) await turns();
    expect(call.isHungUp()).toBe(true);
    for (const { id } of asked) expect(at.settled(id)).toMatchObject([{ outcome: AttemptOutcome.CANCELLED }]);
    expect(at.pool.pool.status().openAttempts).toBe(1);
  });

  test("last of all lets a provider finish that bills all the same", async () => {
    await using test = await joined(2, { stopsOnDisconnect: false });
    const { at, asked, call } = test;
    for (const { leave } of asked) leave();
    await turns();
    expect(call.isHungUp()).toBe(false);
    expect(at.pool.pool.status().draining).toBe(1);
    call.answer(20);
    for (let tries = 0; at.pool.journal.events.length < 2 && tries < 100; tries += 1) await turns();
    const share = { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.COUNTED, usage: { inputTokens: 10 } };
    expect(asked.map(({ id }) => at.settled(id))).toMatchObject([[share], [share]]);
    expect(at.pool.pool.status().draining).toBe(0);
  });

  test("for want of time is told so, and billed his share", async () => {
    await using at = await startBatching();
    await at.ask({ input: "first" });
    const patient = await at.ask({ input: "one" });
    const hurried = await at.ask({ input: "two" }, { timeouts: { total: durationFromMs(80) } });
    await at.endWaits();
    const call = await at.called(2);
    expect((await hurried.answer).error).toMatchObject({
      reason: ErrorReason.PROVIDER_TIMEOUT,
      metadata: { timer: "total" },
    });
    call.answer(4);
    expect((await patient.answer).error).toBeUndefined();
    expect(at.settled(hurried.id)).toMatchObject([{ outcome: AttemptOutcome.FAILED, usage: { inputTokens: 2 } }]);
  });
});

describe("the journal", () => {
  test("has every intent before the call leaves, however long that takes", async () => {
    const journal = createFakeJournal();
    const released: (() => void)[] = [];
    const intend = (intent: Parameters<typeof journal.intend>[0]) =>
      new Promise<void>((resolve) => {
        void journal.intend(intent);
        released.push(resolve);
      });
    await using at = await startBatching({}, { journal: { ...journal, intend } });
    const asked = await waiting(at, 3);
    await at.endWaits();
    expect(released).toHaveLength(4);
    for (const release of released.slice(0, 3)) release();
    await at.called(1);
    asked[0]?.leave();
    await turns();
    expect(at.calls).toHaveLength(1);
    released[3]?.();
    const call = await at.called(2);
    // Who left meanwhile is not in it, and his intent has its end.
    expect(call.inputs).toEqual(["text 1", "text 2"]);
    expect(journal.events).toMatchObject([{ attemptId: asked[0]?.id, outcome: AttemptOutcome.CANCELLED }]);
    call.answer(2);
    await Promise.all(asked.map(({ answer }) => answer));
    expect(journal.events).toHaveLength(3);
  });

  test("that refuses one intent keeps one attempt out, and nobody else", async () => {
    const journal = createFakeJournal();
    let count = 0;
    const intend = (intent: Parameters<typeof journal.intend>[0]) => {
      count += 1;
      if (count === 3) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
      void journal.intend(intent);
    };
    await using at = await startBatching({}, { journal: { ...journal, intend } });
    const asked = await waiting(at, 3);
    await at.endWaits();
    const call = await at.called(2);
    expect(call.inputs).toEqual(["text 0", "text 2"]);
    expect((await asked[1]?.answer)?.error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    call.answer(2);
    expect((await asked[2]?.answer)?.error).toBeUndefined();
    expect(journal.events).toHaveLength(2);
  });

  test("that refuses all but one leaves a call for one, which is as it came", async () => {
    const journal = createFakeJournal();
    let count = 0;
    const intend = (intent: Parameters<typeof journal.intend>[0]) => {
      count += 1;
      if (count === 2) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
      void journal.intend(intent);
    };
    await using at = await startBatching({}, { journal: { ...journal, intend } });
    const asked = await waiting(at, 2);
    await at.endWaits();
    const call = await at.called(2);
    expect(call.body).toEqual({ model: "target-model", input: "text 1" });
    call.answer(2);
    expect((await asked[1]?.answer)?.error).toBeUndefined();
    expect(journal.events).toMatchObject([{ usageSource: UsageSource.REPORTED, usage: { inputTokens: 2 } }]);
    expect(at.pool.pool.status().providers).toMatchObject([{ calls: 1 }]);
  });
});

describe("a pool that closes", () => {
  test("tells those who wait for others, and has nothing of them on record", async () => {
    await using at = await startBatching();
    const asked = await waiting(at, 2);
    await at.pool.pool.close();
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
      expect(at.pool.journal.intents.has(id)).toBe(false);
    }
    expect(at.pool.journal.events).toHaveLength(1);
  });

  test("tells those who wait for a place", async () => {
    await using at = await startBatching({ callsMax: 1 });
    const asked = await waiting(at, 2);
    await at.endWaits();
    await at.pool.pool.close();
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
      expect(at.pool.journal.intents.has(id)).toBe(false);
    }
  });

  test("ends a joined call, and settles each of its attempts", async () => {
    await using test = await joined(2);
    const { at, asked } = test;
    await at.pool.pool.close();
    for (const { id, answer } of asked) {
      expect((await answer).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
      expect(at.settled(id)).toMatchObject([{ outcome: AttemptOutcome.CANCELLED }]);
    }
    expect(at.pool.pool.status().openAttempts).toBe(0);
    expect(at.pool.defects).toEqual([]);
  });
});
