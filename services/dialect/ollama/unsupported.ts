import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/**
 * A part of a canonical request that this dialect cannot express.
 * @param text what to change; never quotes the request
 * @param param a path of the canonical request
 */
export function unsupported(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param } });
}
