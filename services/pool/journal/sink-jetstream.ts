import { create, fromBinary } from "@bufbuild/protobuf";
import { jetstream } from "@nats-io/jetstream";
import { WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { encodeToBytes } from "@weir/kit/codec";
import { usageStream } from "@weir/kit/usage-stream";
import type { NatsConnection } from "nats";
import type { Sink } from "./drain.ts";

const timeoutMs = 5_000;

/**
 * Publishes batches to JetStream. That the broker took a batch says nothing about the ledger, so `send` returns no watermark:
 * metering tells it on a subject of the journal's own, and answers questions after it. Metering also makes the stream; while
 * there is none, `send` fails.
 * @param connection open, with endless reconnects; closed by who opened it
 */
export function createJetStreamSink(connection: NatsConnection, journalId: string): Sink & { close(): void } {
  const stream = jetstream(connection, { timeout: timeoutMs });
  let listener: ((committedSequence: bigint) => void) | undefined;
  const subscription = connection.subscribe(usageStream.watermarkPrefix + journalId, {
    callback(error, message) {
      const watermark = error ? undefined : readWatermark(message.data, journalId);
      if (watermark !== undefined) listener?.(watermark);
    },
  });
  return {
    inFlightMax: 8,
    async send(batch, again) {
      // Drops what a repetition within the broker's window doubles; the ledger knows its events in any case.
      const msgID = `${journalId}:${batch.firstSequence}:${batch.count}`;
      await stream.publish(usageStream.subjectPrefix + journalId, batch.bytes, {
        msgID: again === 0 ? msgID : `${msgID}:${again}`,
        timeout: timeoutMs,
        expect: { streamName: usageStream.name },
      });
      return undefined;
    },
    async watermark(id) {
      const request = encodeToBytes(GetWatermarkRequestSchema, create(GetWatermarkRequestSchema, { journalId: id }));
      const reply = await connection.request(usageStream.watermarkRequests, request, { timeout: timeoutMs });
      const watermark = readWatermark(reply.data, id);
      if (watermark === undefined) throw new Error("the answer is no watermark of this journal");
      return watermark;
    },
    onWatermark(next) {
      listener = next;
    },
    close() {
      subscription.unsubscribe();
    },
  };
}

function readWatermark(data: Uint8Array, journalId: string): bigint | undefined {
  try {
    const watermark = fromBinary(WatermarkSchema, data);
    return watermark.journalId === journalId ? watermark.committedSequence : undefined;
  } catch {
    return undefined;
  }
}
