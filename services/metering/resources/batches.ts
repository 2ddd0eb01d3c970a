import { hash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { UsageBatchSchema, type UsageEvent, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { BatchService, BatchUse, SettleBatchRequest } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { WeirError } from "@weir/kit/weir-error";
import { coversBatches } from "@weir/price/charge";
import { batchTier, type Price } from "@weir/price/price";
import type { BudgetNews } from "../budgets/settlement.ts";
import type { Recorder } from "../recorder.ts";
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
      const events = request.uses.map((use) => eventOf(request, use, batch, priceOf));
      // What stands is what was written before a crash. By now a price may have come, or the provider may count otherwise.
      const standing = events.length === 0 ? none : await store.recorded(events.map(({ attemptId }) => attemptId));
      const missing = events.filter(({ attemptId }) => !standing.has(attemptId));
      if (missing.length > 0) await recorder.record([create(UsageBatchSchema, { events: missing })]);
      const charged = request.uses.map(({ accounts }, at) => ({
        attemptId: events[at]?.attemptId ?? "",
        accounts: accounts.map(({ budgetId: budget, subject }) => ({ budget, subject })),
      }));
      tellBudgets(await store.markSettled(provider, batchId, charged));
      return {};
    },
  };
}

const none: ReadonlySet<string> = new Set();

/** Models are called by a name that stands for the newest of them, and answer with that one's own: `gpt-5-2025-08-07`. */
const versionDate = /-\d{4}-\d{2}-\d{2}$/;

function eventOf(
  { provider, batchId, outcome, endTime }: SettleBatchRequest,
  { model, usage }: BatchUse,
  { createTime, tenant, key, endUser, tags }: OwnedBatch,
  priceOf: BatchDeps["priceOf"],
): UsageEvent {
  const startMs = createTime.getTime();
  const price =
    priceOf({ provider, model }, startMs) ?? priceOf({ provider, model: model.replace(versionDate, "") }, startMs);
  const isReported = usage?.inputTokens !== undefined || usage?.outputTokens !== undefined;
  return create(UsageEventSchema, {
    attemptId: batchAttemptId(startMs, [provider, batchId, model]),
    requestId: batchId.slice(0, idCharsMax),
    principal: create(PrincipalSchema, { tenant, key, user: endUser, tags: { ...tags } }),
    target: create(TargetSchema, { provider, model }),
    priceId: price !== undefined && coversBatches(price) ? price.id : "",
    startTime: timestampFromDate(createTime),
    endTime: endTime ?? timestampFromDate(createTime),
    outcome,
    usage: { serverToolUses: {}, ...usage, serviceTier: batchTier },
    usageSource: isReported ? UsageSource.REPORTED : UsageSource.COUNTED,
    providerReplyId: batchId.slice(0, idCharsMax),
    providerStatus: 200,
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
