import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  AcquireLeasesResponseSchema,
  LeaseOutcome,
  LeaseSchema,
  type RenewLeasesRequestSchema,
  RenewLeasesResponseSchema,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import type { Clock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { expect, test, vi } from "vitest";
import { type Account, LeaseBook } from "./lease-book.ts";
import { Lender, type LenderDeps } from "./lender.ts";

type Renewal = MessageInitShape<typeof RenewLeasesRequestSchema>;

const never = new AbortController().signal;

/** A lender whose clock stands still unless it is moved, and whose store grants what is needed and answers renewals when it is told to. */
function createSetting() {
  const account: Account = { key: "a\n", budget: "a", subject: "", lease: undefined };
  const timers = new Map<() => void, number>();
  const preferred: bigint[] = [];
  let nowMs = 0;
  const clock: Clock = {
    now: () => 0,
    monotonic: () => nowMs,
    after(delayMs, call) {
      timers.set(call, delayMs);
      return () => timers.delete(call);
    },
  };
  const renewals: { readonly request: Renewal; readonly answer: (grantedTotal: bigint) => void }[] = [];
  let granted = 0n;
  const lease = (grantedTotalNanoUsd: bigint, leaseId = 1n) =>
    create(LeaseSchema, {
      leaseId,
      account: { budget: "a", subject: "" },
      grantedTotalNanoUsd,
      expiresIn: durationFromMs(30_000),
    });
  const service = {
    acquireLeases(request) {
      const ask = request.groups?.[0]?.asks?.[0];
      granted += ask?.neededNanoUsd ?? 0n;
      preferred.push(ask?.preferredNanoUsd ?? 0n);
      const results = [{ outcome: LeaseOutcome.GRANTED }];
      return Promise.resolve(create(AcquireLeasesResponseSchema, { results, leases: [lease(granted)] }));
    },
    renewLeases: (request) =>
      new Promise((resolve) => {
        const answer = (grantedTotal: bigint) =>
          resolve(create(RenewLeasesResponseSchema, { leases: [lease(grantedTotal)] }));
        renewals.push({ request, answer });
      }),
  } satisfies LenderDeps["service"];
  const book = new LeaseBook();
  const lender = new Lender({
    service,
    book,
    account: () => account,
    onGone: () => {},
    holder: "11111111-1111-4111-8111-111111111111",
    keepMs: () => 60_000,
    clock,
    log: silentLog,
  });
  return {
    book,
    lender,
    renewals,
    account,
    /** What the store was asked for ahead, each time. */
    preferred,
    wait(ms: number): void {
      nowMs += ms;
    },
    /** A call that costs all that is set aside for it. */
    async call(amount: number): Promise<void> {
      const held = await lender.take([account], amount, () => never);
      if (held !== undefined) lender.settle(held, amount);
    },
    /** What happens every few seconds. */
    tick() {
      const [due] = [...timers].filter(([, delayMs]) => delayMs === 5_000);
      if (due === undefined) throw new Error("nothing is planned");
      timers.delete(due[0]);
      due[0]();
    },
  };
}

test("a lease that was told as forgotten and is added to before the answer keeps its totals", async () => {
  const { book, renewals, call, tick } = createSetting();
  await call(100);
  tick();
  expect(renewals[0]?.request.leases).toMatchObject([{ leaseId: 1n, forgotten: true, grantedTotalNanoUsd: 100n }]);
  await call(10);
  renewals[0]?.answer(110n);
  await vi.waitFor(() => expect(book.get(1n)).toMatchObject({ grantedTotal: 110, free: 0 }));
  await call(10);
  expect(book.get(1n)).toMatchObject({ grantedTotal: 120, free: 0, holds: 0 });
});

test("a lease that the store has let go is forgotten", async () => {
  const { book, renewals, call, tick } = createSetting();
  await call(100);
  tick();
  renewals[0]?.answer(100n);
  await vi.waitFor(() => expect(book.get(1n)).toBeUndefined());
});

test("however many leases there are, all are kept alive, no more in one call than the store takes", async () => {
  const { book, renewals, tick } = createSetting();
  for (let id = 1n; id <= 10_001n; id += 1n) {
    const own = { key: String(id), budget: String(id), subject: "", lease: undefined };
    book.learn(own, { id, grantedTotal: 1, expiresInMs: 30_000, windowEndsInMs: Infinity }, 0);
  }
  tick();
  expect(renewals[0]?.request.leases).toHaveLength(10_000);
  renewals[0]?.answer(1n);
  await vi.waitFor(() => expect(renewals[1]?.request.leases).toMatchObject([{ leaseId: 10_001n }]));
});

test("the more often the store is asked, the more is asked for ahead; of a budget that is tight nothing is", async () => {
  const { lender, account, preferred, call, wait } = createSetting();
  // What waits is asked for on top of the calls to come.
  const calls = (amount: bigint | undefined) => Number((amount ?? 0n) / 100n) - 1;
  for (let index = 0; index < 10; index += 1) {
    await call(100);
    wait(100);
  }
  expect(preferred.map(calls)).toEqual([32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096, 4_096]);
  for (let index = 0; index < 8; index += 1) {
    wait(1_000);
    await call(100);
  }
  expect(preferred.slice(10).map(calls)).toEqual([2_048, 1_024, 512, 256, 128, 64, 32, 32]);
  lender.tightened(account);
  await call(100);
  expect(preferred.at(-1)).toBe(100n);
});
