import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { RecordResourceResponseSchema } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { systemClock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { WholeAnswer } from "./answer.ts";
import { recordMade, type Resources } from "./ownership.ts";

const answer: WholeAnswer = {
  head: {
    $typeName: "weir.passthrough.v1.AnswerHead",
    status: 200,
    contentType: "application/json",
    headers: {},
    place: { $typeName: "weir.passthrough.v1.Place", provider: "acme", account: "" },
    model: "",
  },
  body: Buffer.from(JSON.stringify({ id: "batch_1" })),
};
const noMetadata = {};

/** Puts a batch on record where each try fails with the next of these, and the last one stays. */
async function recording(reasons: readonly (WeirError["reason"] | undefined)[]) {
  const told: unknown[] = [];
  let nowMs = 0;
  const clock = {
    ...systemClock,
    monotonic: () => nowMs,
    after(delayMs: number, callback: () => void) {
      nowMs += delayMs;
      queueMicrotask(callback);
      return () => undefined;
    },
  };
  const resources: Pick<Resources, "recordResource"> = {
    async recordResource({ resource }) {
      told.push(resource?.resourceId);
      const reason = reasons[Math.min(told.length, reasons.length) - 1];
      if (reason !== undefined) throw new WeirError(reason);
      return create(RecordResourceResponseSchema);
    },
  };
  const made = { kind: "batch", isNew: true, alias: "" } as const;
  const failure = await recordMade({ resources, clock }, answer, made, noMetadata).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { told, failure, tookMs: nowMs };
}

test("what was made is put on record though metering is started again meanwhile", async () => {
  const { told, failure } = await recording([
    ErrorReason.STORE_UNAVAILABLE,
    ErrorReason.DEADLINE_EXCEEDED,
    ErrorReason.INTERNAL,
    undefined,
  ]);
  expect([told, failure]).toEqual([Array.from({ length: 4 }, () => "batch_1"), undefined]);
});

test("nobody waits for longer than 20 s for a store that is away", async () => {
  const { failure, tookMs } = await recording([ErrorReason.STORE_UNAVAILABLE]);
  expect(failure).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  expect(tookMs).toBeGreaterThan(15_000);
  expect(tookMs).toBeLessThanOrEqual(20_000);
});

test("what is another tenant's is said at once, and not as such", async () => {
  const { told, failure } = await recording([ErrorReason.ALREADY_EXISTS]);
  expect(told).toHaveLength(1);
  expect(failure).toMatchObject({ reason: ErrorReason.INTERNAL });
});
