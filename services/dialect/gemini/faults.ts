import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** The key of this dialect in `GenerateRequest.extensions`, and its name in warnings. */
export const dialectName = "gemini";

/**
 * A fault of a client's request.
 * @param text what to change; never quotes the request
 * @param param a path of the request in this dialect; empty when the fault is of the whole body
 */
export function invalid(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === "" ? {} : { metadata: { param } }) });
}

/**
 * A part of a canonical request that this dialect cannot express.
 * @param text what to change; never quotes the request
 * @param param a path of the canonical request
 */
export function unsupported(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param } });
}
