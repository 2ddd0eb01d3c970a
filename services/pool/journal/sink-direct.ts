import type { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Client } from "@weir/kit/call";
import type { Sink } from "./drain.ts";

const recordTimeoutMs = 30_000;
const askTimeoutMs = 5_000;

/** Hands batches straight to metering, whose answer means that they are committed. */
export function createDirectSink(usage: Pick<Client<typeof UsageService>, "recordUsage" | "getWatermark">): Sink {
  return {
    // The ledger locks a journal while it writes: more at once would only wait there.
    inFlightMax: 1,
    async send(batch) {
      const { watermark } = await usage.recordUsage({ encodedBatch: batch.bytes }, { timeoutMs: recordTimeoutMs });
      return watermark?.committedSequence;
    },
    async watermark(journalId) {
      const { watermark } = await usage.getWatermark({ journalId }, { timeoutMs: askTimeoutMs });
      return watermark?.committedSequence ?? 0n;
    },
    onWatermark() {},
  };
}
