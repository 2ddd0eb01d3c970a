import { createArrayStream } from "@weir/dialect/gemini/array-stream";
import { gemini } from "@weir/dialect/gemini/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { ErrorVoice, HeaderList } from "../http/exchange.ts";

/** How a stream, which comes as server-sent events, goes out to its client. */
export interface StreamForm {
  /** Of its type, and that nobody shall keep or hold it. */
  readonly headers: HeaderList;
  /** What a client gets that waits for the first content. */
  waiting(): string;
  /** What a client gets when nothing came for a while. */
  readonly ping: string;
  /** A line for people and programs that look for it, which no client takes for content; empty where there is no such thing. */
  comment(text: string): string;
  /**
   * The events as the client reads them. Absent: as they came.
   * @throws WeirError STREAM_TRUNCATED when they cannot be read, or end inside one
   */
  reframe?(data: Uint8Array, isLast: boolean): string;
}

const unheld = ["cache-control", "no-cache", "x-accel-buffering", "no"];

/** Server-sent events. */
export const eventForm: StreamForm = {
  headers: ["content-type", "text/event-stream; charset=utf-8", ...unheld],
  waiting: () => ": waiting\n\n",
  ping: ": ping\n\n",
  comment: (text) => `: ${text}\n\n`,
};

/** One answer of Gemini's as a JSON array, and how its failures are told: before the array began, as those of every other call. */
export function createArrayForm(): { readonly form: StreamForm; readonly voice: ErrorVoice } {
  const array = createArrayStream();
  return {
    form: {
      headers: ["content-type", "application/json; charset=UTF-8", ...unheld],
      waiting: () => array.open(),
      ping: "\n",
      comment: () => "",
      reframe(data, isLast) {
        const items = array.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
        if (!isLast) return items;
        const rest = array.end();
        if (rest === undefined) throw new WeirError(ErrorReason.STREAM_TRUNCATED);
        return items + rest;
      },
    },
    voice: {
      renderError: gemini.renderError,
      renderErrorEvent: (error, requestId) => array.fail(gemini.renderError(error, requestId).body),
    },
  };
}
