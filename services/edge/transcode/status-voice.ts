import { googleStatus } from "@weir/dialect/google-status";
import { renderError as renderOpenai } from "@weir/dialect/openai/errors";
import type { WeirError } from "@weir/kit/weir-error";
import type { ErrorVoice } from "../http/exchange.ts";
import { failureMember } from "./rules.ts";

/**
 * How failures of transcoded calls are told: google.rpc.Status in proto JSON. The HTTP status is that of the code
 * (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto), or a closer one where HTTP has it, as 413; headers are
 * those of every other dialect.
 */
export const statusVoice: ErrorVoice = voiceOf(() => "");

/** In a stream of server-sent events: an event of type `error`. */
export const eventVoice: ErrorVoice = voiceOf((status) => `event: error\ndata: ${status}\n\n`);

/** In a stream of lines: an object with the one member `error`, which no message of a stream has. */
export const lineVoice: ErrorVoice = voiceOf((status) => `{"${failureMember}":${status}}\n`);

function voiceOf(frame: (status: string) => string): ErrorVoice {
  return {
    renderError(error: WeirError, requestId: string) {
      const { status, headers } = renderOpenai(error);
      return { status, headers, body: statusText(error, requestId) };
    },
    renderErrorEvent: (error: WeirError, requestId: string) => frame(statusText(error, requestId)),
  };
}

function statusText(error: WeirError, requestId: string): string {
  return JSON.stringify(googleStatus(error, requestId));
}
