import { readStoredRequest } from "@weir/dialect/openai-responses/stored/request";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { CountDeps } from "../count-tokens.ts";
import { asBuffer, continued, readHistory, withReferredItems } from "./continued.ts";
import type { RememberingDeps } from "./remembered-call.ts";

export interface ContinuedCountDeps
  extends Pick<CountDeps, "chat">,
    Pick<RememberingDeps, "archive" | "room" | "settings"> {}

/** A chat that counts what a request continues with it: the turns before stand in its input, as in a call for its answer. */
export function createContinuedCount({ chat, archive, room, settings }: ContinuedCountDeps): CountDeps["chat"] {
  return {
    async countTokens({ request }, options) {
      const body = asBuffer(request.wire?.body ?? noBytes);
      const read = readStoredRequest(body);
      const { metadata = {}, signal } = options;
      const bytesMax = settings().bodyBytesMax - body.length;
      const {
        request: referred,
        asked,
        own,
      } = await withReferredItems(archive, request, read, bytesMax, metadata, signal);
      const added = (referred.wire?.body.length ?? 0) - body.length;
      const turns = await readHistory(archive, asked, bytesMax - added, metadata, signal);
      const whole = continued(referred, asked, turns);
      const historyBytes = (whole.wire?.body.length ?? 0) - body.length;
      if (!room.take(historyBytes)) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 });
      try {
        return await chat.countTokens({ request: whole }, whole === request ? options : { ...options, sent: own });
      } finally {
        room.give(historyBytes);
      }
    },
  };
}

const noBytes = new Uint8Array();
