import { Readable } from "node:stream";
import type { ForwardAttemptRequest } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { CallHead } from "@weir/gen/weir/passthrough/v1/forward_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { asError, WeirError } from "@weir/kit/weir-error";

/** Bytes of a body that wait for the provider's connection. */
const waitingBytesMax = 64 * 1024;

/** The model's name as it stands in a body. */
export function modelBytes({ modelIsJson }: CallHead, model: string): Buffer {
  return Buffer.from(modelIsJson ? JSON.stringify(model) : model);
}

/** Length of a body as its provider gets it; undefined: not known. */
export function bodyLength(head: CallHead, model: string): number | undefined {
  if (head.bodyBytes === undefined) return undefined;
  return Number(head.bodyBytes) + head.modelPlaces * modelBytes(head, model).length;
}

/**
 * The body of a call as its pieces come, with the target's model in its places. Read as the connection to the provider takes it.
 * Destroying it leaves the pieces; pieces that fail destroy it.
 */
export function bodyStream(pieces: ReplyStream<ForwardAttemptRequest>, head: CallHead, model: string): Readable {
  const name = modelBytes(head, model);
  const body = new Readable({
    highWaterMark: waitingBytesMax,
    read() {
      pieces.onReady = pass;
      pass();
    },
    destroy(error, done) {
      pieces.onReady = undefined;
      void pieces.return();
      done(error);
    },
  });

  function pass(): void {
    try {
      for (;;) {
        const message = pieces.poll();
        if (message === undefined) break;
        if (message.payload.case !== "piece") throw new WeirError(ErrorReason.INVALID_REQUEST);
        const { data, model: placed } = message.payload.value;
        const bytes = placed ? Buffer.concat([data, name]) : data;
        if (bytes.length > 0 && !body.push(bytes)) {
          pieces.onReady = undefined;
          return;
        }
      }
      if (pieces.ended) body.push(null);
    } catch (thrown) {
      body.destroy(asError(thrown));
    }
  }

  return body;
}
