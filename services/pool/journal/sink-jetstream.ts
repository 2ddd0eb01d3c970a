import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { jetstream } from "@nats-io/jetstream";
import { UsageBatchSchema, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { usageStream } from "@weir/kit/usage-stream";
import type { NatsConnection } from "nats";
import type { Sink } from "./drain.ts";

const timeoutMs = 5_000;

/**
 * Publishes batches to JetStream. That the broker took a batch says nothing about the ledger, so `send` returns no watermark:
 * metering tells it on a subject of the journal's own, and answers questions after it.
 * @param connection open, with endless reconnects; closed by who opened it
 */
export function createJetStreamSink(connection: NatsConnection, journalId: string): Sink & { close(): void } {
  const stream = jetstream(connection, { timeout: timeoutMs });
  let listener: ((committedSequence: bigint) => void) | undefined;
  const subscription = connection.subscribe(usageStream.watermarkPrefix + journalId, {
    callback(error, message) {
      if (error) return;
      const watermark = readWatermark(message.data);
      if (watermark !== undefined) listener?.(watermark);
    },
  });
  return {
    inFlightMax: 4,
    async send(batch) {
      // Without a message id: after a stall the same batch must be taken again, and the ledger knows its events.
      await stream.publish(usageStream.subjectPrefix + batch.journalId, toBinary(UsageBatchSchema, batch), {
        timeout: timeoutMs,
      });
      return undefined;
    },
    async watermark(journalId) {
      const request = toBinary(GetWatermarkRequestSchema, create(GetWatermarkRequestSchema, { journalId }));
      const reply = await connection.request(usageStream.watermarkRequests, request, { timeout: timeoutMs });
      return fromBinary(WatermarkSchema, reply.data).committedSequence;
    },
    onWatermark(next) {
      listener = next;
    },
    close() {
      subscription.unsubscribe();
    },
  };
}

function readWatermark(data: Uint8Array): bigint | undefined {
  try {
    return fromBinary(WatermarkSchema, data).committedSequence;
  } catch {
    return undefined;
  }
}
