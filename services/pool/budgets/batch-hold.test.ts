import { create } from "@bufbuild/protobuf";
import {
  AcquireLeasesResponseSchema,
  LeaseOutcome,
  RenewLeasesResponseSchema,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Clock, systemClock } from "@weir/kit/clock";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { silent } from "../testing/pool-under-test.ts";
import { holdBatch } from "./batch-hold.ts";

const account = (budget: string) => ({ budget, subject: "" });
const expenses = [
  { model: "m", accounts: [account("a"), account("b")], amount: 30 },
  { model: "n", accounts: [account("a")], amount: 12 },
];

/** A store that answers as it is told, one answer after the other, and a clock that passes as soon as it is waited for. */
function storeOf(...answers: (LeaseOutcome | Error)[]) {
  const asked: Record<string, bigint>[] = [];
  const returned: bigint[] = [];
  const tight: string[] = [];
  let nowMs = 0;
  const clock: Clock = {
    ...systemClock,
    monotonic: () => nowMs,
    after(ms, call) {
      nowMs += ms;
      queueMicrotask(call);
      return () => undefined;
    },
  };
  const hold = (signal = new AbortController().signal, wanted = expenses) =>
    holdBatch(
      {
        service: {
          async acquireLeases({ groups = [] }) {
            const asks = groups[0]?.asks ?? [];
            asked.push(Object.fromEntries(asks.map((ask) => [ask.account?.budget ?? "", ask.neededNanoUsd ?? 0n])));
            const answer = answers.length > 1 ? answers.shift() : answers[0];
            if (answer instanceof Error) throw answer;
            const isGranted = answer === LeaseOutcome.GRANTED;
            return create(AcquireLeasesResponseSchema, {
              results: [{ outcome: answer ?? LeaseOutcome.GRANTED, account: account("b") }],
              leases: isGranted
                ? asks.map((ask, at) => ({
                    leaseId: BigInt(at + 1),
                    account: account(ask.account?.budget ?? ""),
                    grantedTotalNanoUsd: ask.neededNanoUsd ?? 0n,
                    remainingNanoUsd: BigInt(100 - at),
                    softPercent: at * 80,
                  }))
                : [],
            });
          },
          async renewLeases({ leases = [] }) {
            returned.push(...leases.map(({ returnedTotalNanoUsd = 0n }) => returnedTotalNanoUsd));
            return create(RenewLeasesResponseSchema);
          },
        },
        keepMs: () => 1_000,
        clock,
        log: silent,
        onTight: ({ budget }) => tight.push(budget),
      },
      "11111111-1111-4111-8111-111111111111",
      wanted,
      signal,
    );
  return { hold, asked, returned, tight };
}

test("each budget is asked for all that is about it at once; what is not needed goes back whole", async () => {
  const { hold, asked, returned } = storeOf(LeaseOutcome.GRANTED);
  const held = await hold();
  expect(asked).toEqual([{ a: 42n, b: 30n }]);
  expect(held?.message).toMatchObject({
    parts: [
      { model: "m", leaseIds: [1n, 2n], chargeMaxNanoUsd: 30n },
      { model: "n", leaseIds: [1n], chargeMaxNanoUsd: 12n },
    ],
    remainingNanoUsd: 99n,
    softLimits: ["b 80"],
  });
  held?.giveBack();
  expect(returned).toEqual([42n, 30n]);
});

test("a budget that is gone is left out", async () => {
  const { hold, asked } = storeOf(LeaseOutcome.GONE, LeaseOutcome.GRANTED);
  expect((await hold())?.message.parts).toMatchObject([{ leaseIds: [1n] }, { leaseIds: [1n] }]);
  expect(asked[1]).toEqual({ a: 42n });
});

test("what others have in hand is waited for, for ten seconds at most", async () => {
  const later = storeOf(LeaseOutcome.HELD, LeaseOutcome.HELD, LeaseOutcome.GRANTED);
  expect(await later.hold()).toBeDefined();
  expect(later.tight).toEqual(["b", "b"]);
  const never = storeOf(LeaseOutcome.HELD);
  await expect(never.hold()).rejects.toMatchObject({ reason: ErrorReason.BUDGET_EXHAUSTED });
  expect(never.asked.length).toBeLessThan(60);
});

test.each([
  ["spent", LeaseOutcome.SPENT, ErrorReason.BUDGET_EXHAUSTED],
  ["away", new WeirError(ErrorReason.OVERLOADED), ErrorReason.STORE_UNAVAILABLE],
  ["of no sense", LeaseOutcome.UNSPECIFIED, ErrorReason.STORE_UNAVAILABLE],
])("a budget, or its store, that is %s makes no batch", async (_name, answer, reason) => {
  await expect(storeOf(answer).hold()).rejects.toMatchObject({ reason });
});

test("nobody asks for what no budget is about, for more than any has, or for a caller that has left", async () => {
  const { hold, asked } = storeOf(LeaseOutcome.GRANTED);
  expect(await hold(undefined, [{ model: "m", accounts: [], amount: 5 }])).toBeUndefined();
  const dear = hold(undefined, [{ model: "m", accounts: [account("a")], amount: 1e17 }]);
  await expect(dear).rejects.toMatchObject({ reason: ErrorReason.BUDGET_EXHAUSTED });
  await expect(hold(AbortSignal.abort())).rejects.toBeInstanceOf(CallCancelled);
  expect(asked).toEqual([]);
});
