import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CostDimension, type UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { readCosts } from "./costs.ts";
import type { Database } from "./database.ts";
import { isUuid } from "./ledger.ts";
import type { Recorder } from "./recorder.ts";
import type { LedgerStore } from "./store.ts";

export interface UsageDependencies {
  readonly database: Database;
  readonly store: LedgerStore;
  readonly recorder: Recorder;
  readonly clock: Clock;
}

export function createUsageService({
  database,
  store,
  recorder,
  clock,
}: UsageDependencies): ServiceImpl<typeof UsageService> {
  return {
    async recordUsage({ batch }) {
      // Also asked here, since without both no watermark could be told.
      if (!batch || !isUuid(batch.journalId) || batch.firstSequence < 1n) throw invalid("batch");
      const committed = await recorder.record([batch]);
      const journalId = batch.journalId.toLowerCase();
      return { watermark: create(WatermarkSchema, { journalId, committedSequence: committed.get(journalId) ?? 0n }) };
    },

    async getWatermark({ journalId }) {
      if (!isUuid(journalId)) throw invalid("journal_id");
      const id = journalId.toLowerCase();
      return { watermark: create(WatermarkSchema, { journalId: id, committedSequence: await store.watermark(id) }) };
    },

    async listCosts(request) {
      const endTimeMs = request.endTime ? timestampMs(request.endTime) : clock.now();
      const startTimeMs = request.startTime ? timestampMs(request.startTime) : endTimeMs - defaultRangeMs;
      const dimensions = request.dimensions.length > 0 ? request.dimensions : defaultDimensions;
      const rowCountMax = Math.min(request.rowCountMax || 1_000, 10_000);
      const { rows, truncated } = await readCosts(database, { startTimeMs, endTimeMs, dimensions, rowCountMax });
      return { rows: [...rows], truncated };
    },
  };
}

const defaultRangeMs = 30 * 24 * 3_600_000;
const defaultDimensions = [CostDimension.DAY, CostDimension.MODEL];

function invalid(param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `\`${param}\` is missing or malformed.`,
    metadata: { param },
  });
}
