import type { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Client } from "@weir/kit/call";
import type { Sink } from "./drain.ts";

const timeoutMs = 30_000;

/** Hands batches straight to metering, whose answer means that they are committed. */
export function createDirectSink(usage: Pick<Client<typeof UsageService>, "recordUsage" | "getWatermark">): Sink {
  return {
    inFlightMax: 1,
    async send(batch) {
      const { watermark } = await usage.recordUsage({ batch }, { timeoutMs });
      return watermark?.committedSequence;
    },
    async watermark(journalId) {
      const { watermark } = await usage.getWatermark({ journalId }, { timeoutMs });
      return watermark?.committedSequence ?? 0n;
    },
    onWatermark() {},
  };
}
