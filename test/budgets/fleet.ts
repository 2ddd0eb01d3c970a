import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import {
  AttemptOutcome,
  type BudgetHold,
  UsageBatchSchema,
  type UsageEvent,
  UsageEventSchema,
} from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Client, hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { type Clock, systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { meteringOn, silentLog, type TestDatabase, testPrice } from "@weir/metering/testing";
import { type Budgets, createBudgets } from "@weir/pool/budgets/budgets";
import type { CallHold } from "@weir/pool/budgets/call-hold";

/** A call to a provider that answers as it is told. */
export interface SimulatedCall {
  readonly user?: string;
  readonly bodyBytes: number;
  /** What the provider says the input was. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Tokens that nobody sees before the provider reports them, such as reasoning. */
  readonly hiddenTokens?: number;
  readonly outputTokensMax: number;
  readonly stream: boolean;
  /** Tokens between two looks at a stream. */
  readonly chunkTokens?: number;
  /** Time between two chunks, or for the whole answer. */
  readonly pauseMs: number;
}

/** How a call ended, as its caller sees it. */
export interface CallEnd {
  readonly outcome: "completed" | "cut";
  readonly remainingNanoUsd: number | undefined;
  readonly softLimits: readonly string[];
}

/** One pool's budgets, and its way to the ledger. */
export interface SimulatedPool {
  readonly budgets: Budgets;
  /** @throws WeirError as `Budgets.hold` does */
  call(call: SimulatedCall): Promise<CallEnd>;
  /** Dies: nothing is given back, and what was under way is settled by its journal. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** What a token costs, in nano-USD. */
export const nanoUsdPerToken = { input: 2_000, output: 8_000 } as const;

export const keepMs = 60_000;

/** Pools on one ledger, which gets their usage every few milliseconds, as their journals would carry it. */
export async function createFleet(db: TestDatabase) {
  const metering = meteringOn(db.database);
  const door = createLocalDoor([hostService(BudgetService, metering.budgets)]);
  const service = bearing(createClient(BudgetService, door), operatorMetadata);
  const pools: SimulatedPool[] = [];

  function addPool(skewMs = 0, through: Client<typeof BudgetService> = service): SimulatedPool {
    const clock = skewed(skewMs);
    const budgets = createBudgets({
      service: through,
      holder: randomUUID(),
      keepMs: () => keepMs,
      clock,
      random: Math.random,
      meter: noTelemetry.meter,
      log: silentLog,
    });
    budgets.begin();
    const journalId = randomUUID();
    const open = new Set<CallHold>();
    let waiting: UsageEvent[] = [];
    let sequence = 1n;
    let dead = false;
    let stopped = false;

    async function drain(): Promise<void> {
      while (!stopped || waiting.length > 0) {
        await sleep(10);
        const events = waiting;
        if (events.length === 0) continue;
        waiting = [];
        await metering.recorder.record([create(UsageBatchSchema, { journalId, firstSequence: sequence, events })]);
        sequence += BigInt(events.length);
      }
    }
    const draining = drain();

    function settle(hold: BudgetHold, inputTokens: number, outputTokens: number, outcome: AttemptOutcome): void {
      const nowMs = Date.now();
      waiting.push(
        create(UsageEventSchema, {
          attemptId: randomUUID().replace(/^(.{14})4/, "$17"),
          requestId: "request",
          principal: { tenant: "default", key: "abcdefghijklmnop" },
          alias: "large",
          target: { provider: "acme", model: "large" },
          priceId: testPrice.id,
          startTime: timestampFromMs(nowMs),
          endTime: timestampFromMs(nowMs),
          outcome,
          usage: { inputTokens, outputTokens },
          usageSource: UsageSource.REPORTED,
          hold,
        }),
      );
    }

    const pool: SimulatedPool = {
      budgets,
      async call(call) {
        const held = budgets.hold(
          {
            spender: {
              principal: create(PrincipalSchema, { tenant: "default", key: "abcdefghijklmnop", user: call.user ?? "" }),
              alias: "large",
              target: { provider: "acme", model: "large" },
            },
            price: testPrice,
            body: Buffer.alloc(call.bodyBytes, "x"),
            stream: call.stream,
            outputTokensMax: call.outputTokensMax,
          },
          () => new AbortController().signal,
        );
        const hold = held instanceof Promise ? await held : held;
        if (hold === undefined) throw new Error("no budget was about the call");
        hold.keep();
        open.add(hold);
        const { remainingNanoUsd, softLimits } = hold;
        const chunkTokens = call.stream ? (call.chunkTokens ?? 64) : call.outputTokens;
        let outputTokens = 0;
        let isCut = false;
        while (outputTokens < call.outputTokens && !isCut) {
          await sleep(call.pauseMs);
          if (dead) return { outcome: "cut", remainingNanoUsd, softLimits };
          outputTokens = Math.min(call.outputTokens, outputTokens + chunkTokens);
          isCut = call.stream && outputTokens < call.outputTokens && !hold.covers(outputTokens);
        }
        open.delete(hold);
        const outcome = isCut ? "cancelled" : "completed";
        if (!isCut) outputTokens += call.hiddenTokens ?? 0;
        const usage = create(UsageSchema, { inputTokens: call.inputTokens, outputTokens });
        const known = isCut ? AttemptOutcome.CANCELLED : AttemptOutcome.COMPLETED;
        settle(hold.end(outcome, usage), call.inputTokens, outputTokens, known);
        return { outcome: isCut ? "cut" : "completed", remainingNanoUsd, softLimits };
      },
      async kill() {
        dead = true;
        for (const hold of open) settle(hold.toRecord(), 1, 1, AttemptOutcome.LOST);
        stopped = true;
        await draining;
      },
      async stop() {
        if (dead) return;
        await budgets.close();
        stopped = true;
        await draining;
      },
    };
    pools.push(pool);
    return pool;
  }

  return {
    service,
    addPool,
    /** Sums that must agree: of the ledger's rows, and of the budget. */
    async sums(budget: string) {
      const rows = await db.query("select coalesce(sum(charge_nano_usd), 0)::text as charge from attempts");
      const { budget: found } = await service.getBudget({ name: `budgets/${budget}` });
      const [standing] = found?.standings ?? [];
      return {
        charged: BigInt(String(rows[0]?.["charge"])),
        spent: standing?.spentNanoUsd ?? 0n,
        leased: standing?.leasedNanoUsd ?? 0n,
        limit: found?.limitNanoUsd ?? 0n,
      };
    },
    async stop() {
      for (const pool of pools) await pool.stop();
    },
  };
}

/** A machine whose clocks differ from others'. */
function skewed(skewMs: number): Clock {
  return {
    now: () => systemClock.now() + skewMs,
    monotonic: () => systemClock.monotonic() + Math.abs(skewMs),
    after: (delayMs, call) => systemClock.after(delayMs, call),
  };
}
