import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Price } from "@weir/price/price";
import fc from "fast-check";
import { expect, test } from "vitest";
import { attemptFromEvent, MalformedEvent } from "./ledger.ts";
import { testEvent, testEventCost, testPrice } from "./testing.ts";

test("a settled attempt costs tokens times rates, and its tenant pays it", () => {
  const row = attemptFromEvent(testEvent(1), testPrice);
  expect(row).toMatchObject({ pricing: "priced", costNanoUsd: testEventCost, chargeNanoUsd: testEventCost });
});

test("an attempt that gave no answer costs the operator and nobody else", () => {
  for (const outcome of [AttemptOutcome.FAILED, AttemptOutcome.REJECTED]) {
    const row = attemptFromEvent(testEvent(1, { outcome }), testPrice);
    expect(row).toMatchObject({ costNanoUsd: testEventCost, chargeNanoUsd: 0n });
  }
  for (const outcome of [AttemptOutcome.CANCELLED, AttemptOutcome.TRUNCATED, AttemptOutcome.LOST]) {
    expect(attemptFromEvent(testEvent(1, { outcome }), testPrice).chargeNanoUsd).toBe(testEventCost);
  }
});

test("what is not known is null, never zero", () => {
  const usage = create(UsageSchema);
  expect(attemptFromEvent(testEvent(1, { priceId: "" }), undefined)).toMatchObject({
    pricing: "unpriced",
    costNanoUsd: null,
  });
  expect(attemptFromEvent(testEvent(1), undefined)).toMatchObject({ pricing: "price_unknown", costNanoUsd: null });
  expect(attemptFromEvent(testEvent(1, { usage }), testPrice)).toMatchObject({
    pricing: "usage_unknown",
    costNanoUsd: null,
  });
});

test("no counts cost nothing where nothing can have been billed", () => {
  const usage = create(UsageSchema);
  const failed = testEvent(1, { usage, outcome: AttemptOutcome.FAILED });
  expect(attemptFromEvent(failed, testPrice)).toMatchObject({ pricing: "priced", costNanoUsd: 0n });
  const free: Price = { ...testPrice, nanoUsdPerMillion: { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n } };
  expect(attemptFromEvent(testEvent(1, { usage }), free)).toMatchObject({ pricing: "priced", costNanoUsd: 0n });
});

test("an amount beyond 64 bits has no cost, and still a row", () => {
  const price: Price = { ...testPrice, nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, output: 10n ** 18n } };
  const usage = create(UsageSchema, { inputTokens: 1, outputTokens: 4_294_967_295 });
  expect(attemptFromEvent(testEvent(1, { usage }), price)).toMatchObject({
    pricing: "out_of_range",
    costNanoUsd: null,
  });
});

test("a client cannot keep its usage out of the ledger by an odd text", () => {
  const principal = { tenant: "default", key: "k", user: `\0${"x".repeat(511)}\u{1f600}` };
  const row = attemptFromEvent(testEvent(1, { principal, requestId: "a\0b", providerReplyId: "\ud800" }), testPrice);
  expect(row.endUser).toHaveLength(512);
  expect(row.endUser.startsWith("\ufffdx")).toBe(true);
  expect(row.requestId).toBe("a\ufffdb");
  expect(row.providerReplyId).toBe("\ufffd");
});

test("malformed events name the field at fault", () => {
  const fields = {
    attempt_id: testEvent(1, { attemptId: "null" }),
    outcome: testEvent(1, { outcome: AttemptOutcome.UNSPECIFIED }),
    usage_source: testEvent(1, { usageSource: UsageSource.UNSPECIFIED }),
    start_time: testEvent(1, { startTime: timestampFromMs(-1) }),
    end_time: testEvent(1, { endTime: timestampFromMs(Date.UTC(9000, 0, 1)) }),
    provider_status: testEvent(1, { providerStatus: 4_294_967_295 }),
    first_token_us: testEvent(1, { firstTokenUs: 2n ** 64n - 1n }),
    hold: testEvent(1, { hold: { leaseIds: [2n ** 63n] } }),
    principal: create(UsageEventSchema, { ...testEvent(1), principal: undefined as never }),
    target: create(UsageEventSchema, { ...testEvent(1), target: undefined as never }),
  };
  for (const [field, event] of Object.entries(fields)) {
    const read = () => attemptFromEvent(event, testPrice);
    expect(read).toThrow(MalformedEvent);
    expect(read).toThrow(field);
  }
});

test("a count that is no whole number of 32 bits is malformed, one of a tool's uses among them", () => {
  for (const usage of [{ inputTokens: 0.5 }, { outputTokens: -1 }, { serverToolUses: { audio_seconds: 12.5 } }]) {
    expect(() => attemptFromEvent(testEvent(1, { usage }), testPrice)).toThrow("malformed usage event: usage");
  }
});

test("the digest changes with anything that an event says, and with nothing else", () => {
  const digest = (event = testEvent(1)) => attemptFromEvent(event, testPrice).contentDigest;
  expect(digest()).toBe(digest(testEvent(1)));
  expect(attemptFromEvent(testEvent(1), undefined).contentDigest).toBe(digest());
  const usage = { inputTokens: 1_000, cachedInputTokens: 100, outputTokens: 50 };
  const others = [
    testEvent(1, { requestId: "x" }),
    testEvent(1, { alias: "x" }),
    testEvent(1, { principal: { tenant: "x", key: "abcdefghijklmnop" } }),
    testEvent(1, { principal: { tenant: "default", key: "abcdefghijklmnop", tags: { team: "search" } } }),
    testEvent(1, { principal: { tenant: "default", key: "abcdefghijklmnop", tags: { team: "search", job: "a" } } }),
    testEvent(1, { target: { provider: "acme", model: "x" } }),
    testEvent(1, { priceId: "" }),
    testEvent(1, { startTime: timestampFromMs(Date.UTC(2026, 1, 1)) }),
    testEvent(1, { endTime: timestampFromMs(Date.UTC(2026, 1, 1)) }),
    testEvent(1, { outcome: AttemptOutcome.LOST }),
    testEvent(1, { usage: { ...usage, outputTokens: 51 } }),
    testEvent(1, { usage: { ...usage, reasoningTokens: 0 } }),
    testEvent(1, { usage: { ...usage, serverToolUses: { web_search: 1 } } }),
    testEvent(1, { usageSource: UsageSource.ESTIMATED }),
    testEvent(1, { providerReplyId: "" }),
    testEvent(1, { providerStatus: 201 }),
    testEvent(1, { firstTokenUs: 1n }),
    testEvent(1, { stream: false }),
  ];
  expect(new Set([digest(), ...others.map(digest)]).size).toBe(others.length + 1);
});

test("the digest of an event is that of earlier versions, which stand in ledgers", () => {
  expect(attemptFromEvent(testEvent(1), testPrice).contentDigest).toBe("da59e9a3b4ac30bad1e54e830c12f166");
});

test("property: amounts are never negative, and no tenant pays more than the provider bills", () => {
  const count = fc.option(fc.integer({ min: 0, max: 4_294_967_295 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.record({ inputTokens: count, cachedInputTokens: count, cacheWriteTokens: count, outputTokens: count }),
      fc.constantFrom(1, 2, 3, 4, 5, 6),
      fc.bigInt({ min: 0n, max: 10n ** 18n }),
      (counts, outcome, rate) => {
        const price = {
          ...testPrice,
          nanoUsdPerMillion: { input: rate, cachedInput: rate, cacheWrite: rate, output: rate },
        };
        const usage = create(UsageSchema);
        Object.assign(usage, Object.fromEntries(Object.entries(counts).filter(([, value]) => value !== undefined)));
        const row = attemptFromEvent(testEvent(1, { usage, outcome: outcome as AttemptOutcome }), price);
        if (row.costNanoUsd !== null) {
          expect(row.costNanoUsd >= (row.chargeNanoUsd ?? -1n) && (row.chargeNanoUsd ?? -1n) >= 0n).toBe(true);
        }
      },
    ),
  );
});
