import { hash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { type Usage, UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import {
  AttemptOutcome,
  UsageBatchSchema,
  type UsageEvent,
  UsageEventSchema,
} from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { BatchService, BatchUse, SettleBatchRequest } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { WeirError } from "@weir/kit/weir-error";
import { coversBatches, priceUsage } from "@weir/price/charge";
import { batchPriceOf, batchTier, type Price } from "@weir/price/price";
import type { BudgetNews } from "../budgets/settlement.ts";
import { outcomeWords } from "../ledger.ts";
import type { Recorder } from "../recorder.ts";
import { allot, partOf, type PricedUse } from "./batch-hold.ts";
import type { BatchStore, OwnedBatch } from "./batch-store.ts";

export interface BatchDeps {
  readonly store: BatchStore;
  readonly recorder: Pick<Recorder, "record">;
  /** The price in force for a target at a time, see PriceList.find. */
  readonly priceOf: (target: { readonly provider: string; readonly model: string }, atMs: number) => Price | undefined;
  /** Told of what became of budgets. */
  readonly tellBudgets: (news: BudgetNews) => void;
}

/**
 * Serves what batches used. A batch's rows have ids that follow from the batch, and it is marked as settled after them: whatever is
 * killed in between, they are written once, and a batch that is not marked comes again.
 */
export function createBatches({ store, recorder, priceOf, tellBudgets }: BatchDeps): ServiceImpl<typeof BatchService> {
  return {
    async claimBatches({ countMax }) {
      const due = await store.claim(countMax);
      return {
        batches: due.map(({ provider, batchId, account, createTime, tenant, key, endUser, tags }) => ({
          provider,
          batchId,
          account,
          createTime: timestampFromDate(createTime),
          principal: { tenant, key, user: endUser, tags: { ...tags } },
        })),
      };
    },

    async settleBatch(request) {
      const { provider, batchId } = request;
      const batch = await store.read(provider, batchId);
      if (batch === undefined) throw new WeirError(ErrorReason.NOT_FOUND, { metadata: { resource: batchId } });
      if (batch.isSettled) return {};
      const { parts } = batch;
      const priced = request.uses.map((use) => pricedUse(request, use, batch, priceOf));
      const allotments = allot(priced, parts);
      const events = priced.map((use, at) => eventOf(request, use, batch, allotments[at]?.chargeMax ?? null));
      // What stands is what was written before a crash. By now a price may have come, or the provider may count otherwise.
      const standing = events.length === 0 ? none : await store.recorded(events.map(({ attemptId }) => attemptId));
      const missing = events.filter(({ attemptId }) => !standing.has(attemptId));
      if (missing.length > 0) await recorder.record([create(UsageBatchSchema, { events: missing })]);
      // What was lost is in the ledger as not known, and holds nobody's money for ever.
      const isLost = request.outcome === AttemptOutcome.LOST;
      const charged = events.map(({ attemptId }, at) => ({
        attemptId,
        takes: isLost ? [] : (allotments[at]?.takes ?? []),
      }));
      tellBudgets(await store.markSettled(provider, batchId, parts, charged));
      return {};
    },
  };
}

const none: ReadonlySet<string> = new Set();

/** What a model used, with the price that it goes by. */
interface RowUse extends PricedUse {
  readonly usage: Usage;
  /** Empty: none that tells what batches cost. */
  readonly priceId: string;
}

function pricedUse(
  { provider, outcome }: SettleBatchRequest,
  { model, usage: reported }: BatchUse,
  { createTime, parts }: OwnedBatch,
  priceOf: BatchDeps["priceOf"],
): RowUse {
  const find = (target: { readonly provider: string; readonly model: string }) => priceOf(target, createTime.getTime());
  // Of a model that its provider calls otherwise than its lines, the one that was gone by when it was made.
  const asked = partOf(parts, model)?.model;
  const price =
    batchPriceOf(find, { provider, model }) ??
    (asked === undefined ? undefined : batchPriceOf(find, { provider, model: asked }));
  const usage = create(UsageSchema, { serverToolUses: {}, ...reported, serviceTier: batchTier });
  if (price === undefined || !coversBatches(price)) return { model, usage, priceId: "", costNanoUsd: null };
  const { costNanoUsd } = priceUsage(outcomeWords[outcome] ?? "", usage, price);
  return { model, usage, priceId: price.id, costNanoUsd };
}

function eventOf(
  { provider, batchId, outcome, endTime }: SettleBatchRequest,
  { model, usage, priceId }: RowUse,
  { createTime, tenant, key, endUser, tags }: OwnedBatch,
  chargeMax: bigint | null,
): UsageEvent {
  const startMs = createTime.getTime();
  const isReported = usage.inputTokens !== undefined || usage.outputTokens !== undefined;
  return create(UsageEventSchema, {
    attemptId: batchAttemptId(startMs, [provider, batchId, model]),
    requestId: batchId.slice(0, idCharsMax),
    principal: create(PrincipalSchema, { tenant, key, user: endUser, tags: { ...tags } }),
    target: create(TargetSchema, { provider, model }),
    priceId,
    startTime: timestampFromDate(createTime),
    endTime: endTime ?? timestampFromDate(createTime),
    outcome,
    usage,
    usageSource: isReported ? UsageSource.REPORTED : UsageSource.COUNTED,
    providerReplyId: batchId.slice(0, idCharsMax),
    providerStatus: 200,
    // Without leases: its charge is taken from them when it is marked as settled.
    ...(chargeMax === null ? {} : { hold: { leaseIds: [], chargeMaxNanoUsd: chargeMax } }),
  });
}

const idCharsMax = 128;

/**
 * The id of the attempt that stands for one model's part of a batch: a UUID of version 7 by its form, so that it lies in the month of
 * the batch, whose random bits are a digest.
 * @param createMs when the batch was recorded
 */
export function batchAttemptId(createMs: number, parts: readonly string[]): string {
  const digest = hash("sha256", JSON.stringify(parts));
  const time = Math.trunc(createMs).toString(16).padStart(12, "0");
  const variant = (8 + (Number.parseInt(digest.slice(3, 4), 16) % 4)).toString(16);
  return [
    time.slice(0, 8),
    time.slice(8, 12),
    `7${digest.slice(0, 3)}`,
    `${variant}${digest.slice(4, 7)}`,
    digest.slice(7, 19),
  ].join("-");
}
