import { randomBytes } from "node:crypto";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Meter } from "@opentelemetry/api";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import type { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import type { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import type { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { RandomBytes } from "@weir/kit/api-key";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { PriceList } from "@weir/price/price";
import { createBudgetService } from "./budgets/budget-service.ts";
import { createBudgetStore } from "./budgets/budget-store.ts";
import { startBudgetSweeper } from "./budgets/budget-sweeper.ts";
import { createLeaseStore } from "./budgets/lease-store.ts";
import { createBudgetVoice } from "./budgets/voice.ts";
import { type ConflictList, createConflictList } from "./conflict-list.ts";
import { createConversations } from "./conversations/conversations.ts";
import { createResponseStore } from "./conversations/response-store.ts";
import { startSweeper } from "./conversations/sweeper.ts";
import { createClaimStore } from "./idempotency/claim-store.ts";
import { createIdempotencyService } from "./idempotency/service.ts";
import { startDaily } from "./daily.ts";
import type { Database } from "./database.ts";
import { createIdentity, type Identity } from "./identity.ts";
import { createLedgerService } from "./ledger-service.ts";
import { migrate } from "./migrate.ts";
import { startMonthKeeper } from "./month-keeper.ts";
import { keepMonths } from "./months.ts";
import { createPriceBook } from "./price-book.ts";
import { createPriceStore } from "./price-store.ts";
import { createRecorder, type Recorder } from "./recorder.ts";
import { createLedgerStore, type LedgerStore } from "./store.ts";
import { createBatchStore } from "./resources/batch-store.ts";
import { createBatches } from "./resources/batches.ts";
import { createResourceStore } from "./resources/resource-store.ts";
import { createResources } from "./resources/resources.ts";
import { keepRequestDays } from "./requests/request-days.ts";
import { createRequestService } from "./requests/request-service.ts";
import { createRequestStore } from "./requests/request-store.ts";
import { createUsageService } from "./usage.ts";
import { createWaiting } from "./waiting.ts";

export interface MeteringDependencies {
  /** Open, and closed by who opened it. */
  readonly database: Database;
  /** Key of the HMAC over API keys, at least 32 bytes; every edge has the same. */
  readonly pepper: Buffer;
  readonly clock: Clock;
  /** Default: `randomBytes` of node:crypto. */
  readonly random?: RandomBytes;
  readonly meter: Meter;
  readonly log: Log;
}

export interface Metering extends Pick<Identity, "accounts" | "teams" | "users" | "audit"> {
  readonly budgets: ServiceImpl<typeof BudgetService>;
  readonly usage: ServiceImpl<typeof UsageService>;
  readonly requests: ServiceImpl<typeof RequestService>;
  readonly ledger: ServiceImpl<typeof LedgerService>;
  readonly conversations: ServiceImpl<typeof ConversationService>;
  readonly resources: ServiceImpl<typeof ResourceService>;
  readonly batches: ServiceImpl<typeof BatchService>;
  readonly idempotency: ServiceImpl<typeof IdempotencyService>;
  /** For the JetStream consumer. */
  readonly recorder: Recorder;
  readonly store: LedgerStore;
  /** For alarms. */
  readonly conflicts: Pick<ConflictList, "count">;
  /**
   * To be called before the first event, and again when the configuration changed: brings the schema up to date and
   * writes the prices. Idempotent.
   * @throws Error when a migration or a price was edited; WeirError STORE_UNAVAILABLE
   */
  prepare(prices: PriceList): Promise<void>;
  /** Ends the streams that follow keys and budgets, which would never end by themselves. */
  endWatches(): void;
  /** Writes down what was refused last. To be called when no more calls come. Never rejects. */
  endRefusals(): Promise<void>;
  /** Deletes expired responses from now on, until it is stopped. To be called after `prepare`. */
  startSweeper(): { stop(): void };
  /**
   * Makes the ledger's months ahead and retires old ones, now and every day, until it is stopped. To be called after
   * `prepare`.
   * @param keptMonths whole months to keep beside the present one; undefined: all
   */
  startMonthKeeper(keptMonths: () => number | undefined): { stop(): void };
  /** Sweeps leases and old windows of budgets, now and every day, until it is stopped. To be called after `prepare`. */
  startBudgetSweeper(): { stop(): void };
  /** Deletes old audit records, now and every day, until it is stopped. To be called after `prepare`. */
  startAuditSweeper(): { stop(): void };
  /** Makes the days of request records ahead and drops old ones, now and every day, until it is stopped. To be called after `prepare`. */
  startRequestSweeper(): { stop(): void };
}

export function createMetering(dependencies: MeteringDependencies): Metering {
  const { database, pepper, clock, random = randomBytes, meter, log } = dependencies;
  const store = createLedgerStore(database);
  const prices = createPriceBook(createPriceStore(database));
  const recorder = createRecorder({ store, prices, clock, meter, log });
  const responses = createResponseStore(database);
  const claims = createClaimStore(database);
  const conflicts = createConflictList(database);
  const keyWaiting = createWaiting(clock);
  const budgetWaiting = createWaiting(clock);
  /** The list that was prepared last; undefined: none was. */
  let priceList: PriceList | undefined;
  const identity = createIdentity({ database, pepper, clock, random, waiting: keyWaiting, log });
  const { accounts, teams, users, audit, refusedCalls } = identity;
  return {
    accounts,
    teams,
    users,
    audit,
    endRefusals: () => refusedCalls.close(),
    startAuditSweeper: () => identity.startSweeper(),
    requests: createRequestService(createRequestStore(database)),
    startRequestSweeper: () =>
      startDaily({
        name: "keep the days of request records",
        async run() {
          const { made, dropped } = await keepRequestDays(database);
          if (made.length > 0) log.info({ tables: made }, "days were added to the records of requests");
          if (dropped.length > 0) log.info({ tables: dropped }, "days of the records of requests were dropped");
        },
        clock,
        log,
      }),
    budgets: refusedCalls.watch(
      BudgetService,
      createBudgetService({
        budgets: createBudgetStore(database),
        leases: createLeaseStore(database),
        clock,
        waiting: budgetWaiting,
      }),
    ),
    endWatches() {
      keyWaiting.end();
      budgetWaiting.end();
    },
    usage: refusedCalls.watch(UsageService, createUsageService({ database, store, conflicts, recorder, clock })),
    ledger: refusedCalls.watch(LedgerService, createLedgerService(database)),
    conflicts,
    conversations: createConversations(responses),
    resources: createResources(createResourceStore(database)),
    batches: createBatches({
      store: createBatchStore(database),
      recorder,
      priceOf: (target, atMs) => priceList?.find(target, atMs),
      tellBudgets: createBudgetVoice(meter, log),
    }),
    idempotency: createIdempotencyService(claims),
    startMonthKeeper: (keptMonths) => startMonthKeeper({ database, keptMonths, clock, log }),
    startBudgetSweeper: () => startBudgetSweeper({ database, clock, log }),
    startSweeper() {
      const sweepers = [responses, claims].map((expiring) => startSweeper({ store: expiring, clock, log }));
      return { stop: () => sweepers.forEach((sweeper) => sweeper.stop()) };
    },
    recorder,
    store,
    async prepare(list) {
      const migrated = await migrate(database);
      if (migrated.applied.length > 0) log.info({ files: migrated.applied }, "the schema is up to date");
      if (migrated.ahead)
        log.warn({}, "the database was migrated by a later version of Weir; its views stay as they are");
      // Before the first row of a month comes; where somebody's long query is in the way, rows stand in the default
      // partition until the month keeper has its turn.
      await keepMonths(database, clock.now(), undefined).catch((error: unknown) => {
        log.warn({ error }, "the ledger's months could not be made; trying again later");
      });
      const settledCount = await prices.add(list.prices);
      priceList = list;
      if (settledCount > 0) log.info({ count: settledCount }, "attempts that waited for their price have it now");
      const filledCount = await prices.backfill(list);
      if (filledCount > 0) log.info({ count: filledCount }, "attempts that had no price have one now");
    },
  };
}
