import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

// Three ways in which a request ends at a codec. Texts say what to change and never quote the request.

/**
 * A client's request that breaks a rule of its own dialect: no target could answer it.
 * @param param a path of the request in the client's dialect; empty when the fault is of the whole body
 */
export function invalid(text: string, param = ""): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === "" ? {} : { metadata: { param } }) });
}

/**
 * A client's request that is well formed and that the canonical form cannot hold: a target of the client's own dialect may
 * still answer it.
 * @param param a path of the request in the client's dialect; empty when it has none that may be named
 */
export function untranslatable(text: string, param = ""): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, ...(param === "" ? {} : { metadata: { param } }) });
}

/**
 * A word in a place of words that are not known here: a newer one perhaps, so that it is left to a target of the client's own
 * dialect. What is no word is malformed.
 * @param value what stands there
 */
export function unknownWord(value: unknown, text: string, param: string): WeirError {
  return typeof value === "string" && value !== "" ? untranslatable(text, param) : invalid(text, param);
}

/**
 * A part of a canonical request that a target's dialect cannot express and must not lose.
 * @param param a path of the canonical request
 */
export function unsupported(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param } });
}
