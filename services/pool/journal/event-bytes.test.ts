import { randomUUID } from "node:crypto";
import { create, type DescField, fromBinary, toBinary } from "@bufbuild/protobuf";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  eventAttemptId,
  lostEvent,
  lostEventBytes,
  lostEventOf,
  PayloadTooLong,
  readProgress,
  readSettlement,
  settlementSequence,
  writeEvent,
  writeIntent,
  writeProgress,
  writeSettlement,
} from "./event-bytes.ts";
import { exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { type Cursor, payloadBytesMax } from "./record.ts";
import { NumberOutOfRange } from "./wire-bytes.ts";

const text = fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: "binary", maxLength: 200 }));
const uint32 = fc.oneof(fc.constant(0), fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff }));
const time = fc.record({ seconds: fc.bigInt(0n, 2n ** 40n), nanos: fc.integer({ min: 0, max: 999_999_999 }) });

/** A value for any field of the contract: a field that is added to it is in these tests without a change here. */
function valueOf(field: DescField): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case "scalar":
      if (field.scalar === 9) return text;
      if (field.scalar === 8) return fc.boolean();
      if (field.scalar === 13) return uint32;
      if (field.scalar === 4) return fc.bigInt(0n, 2n ** 53n - 1n);
      throw new Error(`no arbitrary for ${field.name}`);
    case "enum":
      return fc.constantFrom(...field.enum.values.map((value) => value.number));
    case "map":
      return fc.dictionary<unknown>(fc.string({ maxLength: 20 }), field.scalar === 9 ? text : uint32, { maxKeys: 4 });
    case "list":
      if (field.listKind === "scalar" && field.scalar === 4)
        return fc.array(fc.bigInt(0n, 2n ** 53n - 1n), { maxLength: 9 });
      throw new Error(`no arbitrary for ${field.name}`);
    case "message":
      if (field.message.typeName === "google.protobuf.Timestamp") return time;
      return messageOf(field.message.fields);
  }
}

function messageOf(fields: readonly DescField[]): fc.Arbitrary<Record<string, unknown>> {
  return fc.record(Object.fromEntries(fields.map((field) => [field.localName, valueOf(field)])), { requiredKeys: [] });
}

function newCursor(): Cursor {
  return { bytes: Buffer.alloc(payloadBytesMax + 100), at: 0 };
}

const hasOnlyWholeText = (value: unknown): boolean =>
  typeof value === "string"
    ? value.isWellFormed()
    : typeof value !== "object" ||
      value === null ||
      Object.entries(value).every(([k, v]) => k.isWellFormed() && hasOnlyWholeText(v));

test("an event's bytes are those of the protobuf library, for every field of the contract", () => {
  fc.assert(
    fc.property(messageOf(UsageEventSchema.fields).filter(hasOnlyWholeText), (init) => {
      const event = create(UsageEventSchema, init);
      const cursor = newCursor();
      writeEvent(cursor, event);
      expect(cursor.bytes.subarray(0, cursor.at)).toEqual(Buffer.from(toBinary(UsageEventSchema, event)));
    }),
    { numRuns: 1_000 },
  );
});

test("a caller's next attempt has its own alias, target and price, whatever the one before had", () => {
  const { principal } = exampleIntent(randomUUID());
  const word = fc.constantFrom("", "a", "b", "\u00e9");
  const call = fc.record({ alias: word, provider: word, model: word, priceId: word });
  fc.assert(
    fc.property(fc.array(call, { minLength: 2, maxLength: 6 }), (calls) => {
      for (const { alias, provider, model, priceId } of calls) {
        const target = create(TargetSchema, { provider, model });
        const event = create(UsageEventSchema, { ...exampleEvent(randomUUID()), principal, alias, target, priceId });
        const cursor = newCursor();
        writeEvent(cursor, event);
        expect(cursor.bytes.subarray(0, cursor.at)).toEqual(Buffer.from(toBinary(UsageEventSchema, event)));
        cursor.at = 0;
        writeIntent(cursor, { ...exampleIntent(event.attemptId), principal, alias, target, priceId });
        const lost = fromBinary(UsageEventSchema, cursor.bytes.subarray(0, cursor.at));
        expect(lost).toMatchObject({ principal, alias, target, priceId });
      }
    }),
  );
});

test("a progress record gives the attempt and its usage back", () => {
  fc.assert(
    fc.property(messageOf(UsageSchema.fields).filter(hasOnlyWholeText), (init) => {
      const usage = create(UsageSchema, init);
      const attemptId = randomUUID();
      const cursor = newCursor();
      writeProgress(cursor, attemptId, usage);
      expect(readProgress(cursor.bytes.subarray(0, cursor.at))).toEqual({
        attemptId,
        usage: fromBinary(UsageSchema, toBinary(UsageSchema, usage)),
      });
    }),
  );
});

test("a settlement keeps its number, also beyond 32 bits", () => {
  for (const sequence of [1, 0xffff_ffff, 0x1_0000_0000, 2 ** 53 - 1]) {
    const event = exampleEvent(randomUUID());
    const cursor = newCursor();
    writeSettlement(cursor, sequence, event);
    const payload = cursor.bytes.subarray(0, cursor.at);
    expect(settlementSequence(payload, 0)).toBe(sequence);
    expect(eventAttemptId(payload, 8)).toBe(event.attemptId);
    expect(readSettlement(payload)).toEqual(event);
  }
});

test("an intent counts as lost with its reserved usage, or with the last progress", () => {
  const intent = { ...exampleIntent(randomUUID()), startTimeMs: 1_795_000_000_000.25 };
  const cursor = newCursor();
  writeIntent(cursor, intent);
  const payload = cursor.bytes.subarray(0, cursor.at);
  expect(eventAttemptId(payload, 0)).toBe(intent.attemptId);
  const lost = lostEvent(payload, undefined, 1_795_000_100_000.75);
  expect(lost).toMatchObject({
    requestId: intent.requestId,
    principal: intent.principal,
    target: intent.target,
    alias: intent.alias,
    priceId: intent.priceId,
    stream: true,
    startTime: { seconds: 1_795_000_000n, nanos: 250_000 },
    endTime: { seconds: 1_795_000_100n, nanos: 0 },
    outcome: AttemptOutcome.LOST,
    usage: intent.reserved,
    usageSource: UsageSource.ESTIMATED,
  });
  const progress = exampleUsage(10, 20);
  expect(lostEvent(payload, progress, 0).usage).toEqual(progress);
  const fromMemory = lostEventOf({ ...intent, startTimeMs: 1_795_000_000_000 }, undefined, 1_795_000_100_000);
  expect({ ...lost, startTime: fromMemory.startTime }).toEqual({ ...fromMemory });
});

test("a lost attempt is charged no more than was set aside at its beginning, unless its progress is known", () => {
  const hold = { $typeName: "weir.metering.v1.BudgetHold" as const, leaseIds: [7n, 9n], chargeMaxNanoUsd: 5_000n };
  const intent = { ...exampleIntent(randomUUID()), hold };
  const cursor = newCursor();
  writeIntent(cursor, intent);
  const payload = cursor.bytes.subarray(0, cursor.at);
  const progress = exampleUsage(10, 20);
  for (const lost of [lostEvent(payload, undefined, 0), lostEventOf(intent, undefined, 0)]) {
    expect(lost.hold).toMatchObject({ leaseIds: [7n, 9n], chargeMaxNanoUsd: 5_000n });
  }
  for (const lost of [lostEvent(payload, progress, 0), lostEventOf(intent, progress, 0)]) {
    expect(lost.hold?.leaseIds).toEqual([7n, 9n]);
    expect(lost.hold?.chargeMaxNanoUsd).toBeUndefined();
  }
});

test("a lost event fits in a record whatever its progress, and keeps the counts of tokens", () => {
  const cursor = newCursor();
  writeIntent(cursor, { ...exampleIntent(randomUUID()), alias: "\u20ac".repeat(9_000) });
  const payload = cursor.bytes.subarray(0, cursor.at);
  const counts = { inputTokens: 7, outputTokens: 8, serviceTier: "priority" };
  for (const [length, kept] of [
    [30_000, 1],
    [60_000, 0],
  ] as const) {
    const progress = create(UsageSchema, { ...counts, serverToolUses: { ["x".repeat(length)]: 3 } });
    const bytes = lostEventBytes(payload, progress, 0);
    expect(bytes.length).toBeLessThanOrEqual(payloadBytesMax - 8);
    const { usage } = fromBinary(UsageEventSchema, bytes);
    expect(usage).toMatchObject(counts);
    expect(Object.keys(usage?.serverToolUses ?? {})).toHaveLength(kept);
  }
});

test("what does not fit in a record is refused before a byte is lost", () => {
  const long = "x".repeat(20_000);
  const intent = exampleIntent(randomUUID());
  expect(() => writeIntent(newCursor(), { ...intent, alias: long })).toThrow(PayloadTooLong);
  const event = exampleEvent(randomUUID());
  event.providerReplyId = long.repeat(2);
  expect(() => writeSettlement(newCursor(), 1, event)).toThrow(PayloadTooLong);
  const usage = create(UsageSchema, { serverToolUses: { [long.repeat(2)]: 1 } });
  expect(() => writeProgress(newCursor(), randomUUID(), usage)).toThrow(PayloadTooLong);
});

test("a number that its field cannot hold is refused, never written as another one", () => {
  const attempt = randomUUID();
  for (const bad of [-1, 2 ** 32, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => writeProgress(newCursor(), attempt, exampleUsage(1, bad))).toThrow(NumberOutOfRange);
    const event = exampleEvent(attempt);
    event.providerStatus = bad;
    expect(() => writeEvent(newCursor(), event)).toThrow(NumberOutOfRange);
    const late = exampleEvent(attempt);
    if (late.endTime) late.endTime.nanos = bad;
    expect(() => writeEvent(newCursor(), late)).toThrow(NumberOutOfRange);
  }
  const event = exampleEvent(attempt);
  event.firstTokenUs = -1n;
  expect(() => writeEvent(newCursor(), event)).toThrow(NumberOutOfRange);
  expect(() => writeIntent(newCursor(), { ...exampleIntent(attempt), startTimeMs: Number.NaN })).toThrow(
    NumberOutOfRange,
  );
});
