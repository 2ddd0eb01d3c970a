import { create, fromBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type UsageBatch, UsageBatchSchema, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import {
  type Attempt,
  CostDimension,
  type ListAttemptsRequest,
  type ListCostsRequest,
  type UsageService,
} from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Clock } from "@weir/kit/clock";
import { operatorKey } from "@weir/kit/operator";
import { anyToken } from "@weir/kit/token-key";
import { WeirError } from "@weir/kit/weir-error";
import { readAttempts, shapeOfAttemptPlace } from "./attempt-list.ts";
import type { ConflictList } from "./conflict-list.ts";
import { type CostSum, placeOfCost, readCosts, shapeOfCostPlace } from "./costs.ts";
import { type Confinement, confinementOf, principalOf, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { isUuid } from "./ledger.ts";
import type { Recorder } from "./recorder.ts";
import { writePageToken } from "./page-token.ts";
import type { LedgerStore } from "./store.ts";
import { attemptCsv, costCsv, csvPages, type Page } from "./usage-export.ts";
import { readRange, type UsageFilter } from "./usage-question.ts";

export interface UsageDependencies {
  readonly database: Database;
  readonly store: LedgerStore;
  readonly conflicts: ConflictList;
  readonly recorder: Recorder;
  readonly clock: Clock;
}

export function createUsageService({
  database,
  store,
  conflicts,
  recorder,
  clock,
}: UsageDependencies): ServiceImpl<typeof UsageService> {
  let questionCount = 0;

  async function answer<T>(read: () => Promise<T>): Promise<T> {
    if (questionCount >= questionsMax) {
      throw new WeirError(ErrorReason.OVERLOADED, {
        text: "Too many questions to the ledger are being answered; retry after the delay in Retry-After.",
        retryAfterMs: retryMs,
      });
    }
    questionCount += 1;
    try {
      return await read();
    } finally {
      questionCount -= 1;
    }
  }

  async function costPage(request: ListCostsRequest, by: Confinement): Promise<Page<CostSum>> {
    const dimensions = dimensionsOf(request);
    const filter = confined(filterOf(request), by);
    const question = ["costs", filter, dimensions];
    const range = readRange(request, question, shapeOfCostPlace, clock.now());
    const rowCountMax = Math.min(request.rowCountMax || 1_000, costsMax);
    const rows = await answer(() => readCosts(rowsFor(database, by), { range, filter, dimensions, rowCountMax }));
    const last = rows[rowCountMax - 1];
    return {
      rows: rows.slice(0, rowCountMax),
      nextPageToken:
        rows.length > rowCountMax && last ? writePageToken({ ...range, after: placeOfCost(last) }, question) : "",
    };
  }

  async function attemptPage(request: ListAttemptsRequest, countMax: number, by: Confinement): Promise<Page<Attempt>> {
    const filter = { ...confined(filterOf(request), by), requestId: request.requestId };
    const question = ["attempts", filter];
    const range = readRange(request, question, shapeOfAttemptPlace, clock.now());
    const found = await answer(() => readAttempts(rowsFor(database, by), range, filter, countMax));
    const last = found[countMax - 1];
    return {
      rows: found.slice(0, countMax).map(({ attempt }) => attempt),
      nextPageToken: found.length > countMax && last ? writePageToken({ ...range, after: last.place }, question) : "",
    };
  }

  return {
    async recordUsage(request, context) {
      const batch = request.batch ?? decodeBatch(request.encodedBatch);
      // Without both no watermark could be told.
      if (!isUuid(batch.journalId) || batch.firstSequence < 1n || batch.events.length === 0) throw invalid("batch");
      // Pools name nobody: their usage is that of the calls.
      const isAdopted = principalOf(context)?.key === operatorKey;
      const committed = await recorder.record([batch], [], isAdopted);
      const journalId = batch.journalId.toLowerCase();
      return { watermark: create(WatermarkSchema, { journalId, committedSequence: committed.get(journalId) ?? 0n }) };
    },

    async getWatermark({ journalId }) {
      if (!isUuid(journalId)) throw invalid("journal_id");
      const id = journalId.toLowerCase();
      return { watermark: create(WatermarkSchema, { journalId: id, committedSequence: await store.watermark(id) }) };
    },

    async listCosts(request, context) {
      const { rows, nextPageToken } = await costPage(request, confinementOf(context));
      return { rows: [...rows], truncated: nextPageToken !== "", nextPageToken };
    },

    async listAttempts(request, context) {
      const countMax = Math.min(request.pageSize || 100, attemptsMax);
      const { rows, nextPageToken } = await attemptPage(request, countMax, confinementOf(context));
      return { attempts: [...rows], nextPageToken };
    },

    async listConflicts({ rowCountMax }, context) {
      // They name no tenant, or one that nobody has checked.
      if (confinementOf(context).tenant !== undefined) throw everyTenantOnly();
      return { conflicts: [...(await answer(() => conflicts.read(rowCountMax || 100)))] };
    },

    // A page is read when the one before was taken, so nothing piles up here, and ends when the call does.
    async *exportUsage({ table }, context) {
      const by = confinementOf(context);
      if (table.case === undefined || table.value.pageToken !== "") throw invalid("table");
      if (table.case === "attempts") {
        const request = table.value;
        yield* csvPages(attemptCsv, (pageToken) => attemptPage({ ...request, pageToken }, attemptsMax, by));
        return;
      }
      const request = { ...table.value, rowCountMax: costsMax };
      yield* csvPages(costCsv(dimensionsOf(request)), (pageToken) => costPage({ ...request, pageToken }, by));
    },
  };
}

/** Rows of a page at most. */
const costsMax = 10_000;
const attemptsMax = 1_000;
/** Questions that are being answered at once: they share connections with the usage that comes in. */
const questionsMax = 4;
const retryMs = 1_000;

const defaultDimensions = [CostDimension.DAY, CostDimension.MODEL];

function dimensionsOf({ dimensions }: ListCostsRequest): readonly CostDimension[] {
  return dimensions.length > 0 ? dimensions : defaultDimensions;
}

function filterOf(request: ListCostsRequest | ListAttemptsRequest): UsageFilter {
  const { tenant, key, user, alias, provider, model, tag } = request;
  return { tenant, key, user, alias, provider, model, tag };
}

/**
 * A filter that meets what the caller may see, and nothing else. Pure.
 * @throws WeirError FORBIDDEN for a member with a token whose edge is of an earlier version, which does not tell such callers apart
 */
function confined(filter: UsageFilter, { tenant, key }: Confinement): UsageFilter {
  if (key === anyToken) {
    throw new WeirError(ErrorReason.FORBIDDEN, {
      text: "The edge does not tell whose token it is; update it.",
      metadata: { permission: "costs_read" },
    });
  }
  const own = { ...filter, tenant: filter.tenant === "" ? (tenant ?? "") : filter.tenant };
  // Another key's usage is not there: no key is called so.
  return key === undefined ? own : { ...own, key: filter.key === "" || filter.key === key ? key : "-" };
}

function everyTenantOnly(): WeirError {
  return new WeirError(ErrorReason.FORBIDDEN, {
    text: "Only whoever runs the gateway may see this.",
    metadata: { permission: "gateway_read" },
  });
}

function decodeBatch(bytes: Uint8Array): UsageBatch {
  try {
    return fromBinary(UsageBatchSchema, bytes);
  } catch {
    throw invalid("encoded_batch");
  }
}

function invalid(param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `\`${param}\` is missing or malformed.`,
    metadata: { param },
  });
}
