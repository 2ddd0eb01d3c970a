import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { toWeirError, type WeirError } from "@weir/kit/weir-error";
import type { Exchange } from "../http/exchange.ts";
import type { Authenticate } from "./authenticate.ts";
import type { Caller } from "./caller.ts";

/** What ends a connection. A caller that is refused is told RATE_LIMITED where there were many of its like. */
const refusals: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.API_KEY_INVALID,
  ErrorReason.FORBIDDEN,
  ErrorReason.MODEL_FORBIDDEN,
  ErrorReason.RATE_LIMITED,
]);

/**
 * Asks whether whoever opened a connection that lasts may still use it: the key may have been revoked or confined, its owner
 * disabled, the token expired. What cannot be known for the moment ends no connection.
 * @param check throws WeirError when the caller, as it is now, may not
 * @param onRefused called once
 * @returns asks; to be called every second
 */
export function watchStanding(
  { request, socket }: Exchange,
  authenticate: Authenticate,
  check: (caller: Caller) => void,
  onRefused: (error: WeirError) => void,
): () => void {
  let isAsking = false;
  let isRefused = false;
  const judge = (thrown: unknown): void => {
    isAsking = false;
    const error = toWeirError(thrown);
    if (isRefused || !refusals.has(error.reason)) return;
    isRefused = true;
    onRefused(error);
  };
  const taken = (caller: Caller): void => {
    isAsking = false;
    check(caller);
  };
  return () => {
    if (isAsking || isRefused) return;
    try {
      const found = authenticate(request.headers, socket.remoteAddress);
      isAsking = found instanceof Promise;
      if (found instanceof Promise) found.then(taken).catch(judge);
      else check(found);
    } catch (thrown) {
      judge(thrown);
    }
  };
}
