import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** A request that breaks a rule. @param param path of the field or name of the parameter at fault; empty: the whole */
export function invalid(text: string, param = ""): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === "" ? {} : { metadata: { param } }) });
}
