import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { dropped } from "../events.ts";

/** What a request loses on its way to a target: hints, each with a warning. */
export interface Omissions {
  /**
   * Notes that a field is left out; of a field of many messages, parts or tools only the first.
   * @param param a path of the canonical request
   * @param isThere whether there is anything to leave out
   */
  add(param: string, isThere?: boolean): void;
  readonly warnings: readonly Warning[];
}

/** @param dialect the target's */
export function createOmissions(dialect: string): Omissions {
  const fields = new Set<string>();
  const warnings: Warning[] = [];
  return {
    add(param, isThere = true) {
      if (!isThere) return;
      const field = param.replace(/\[\d+\]/g, "");
      if (fields.has(field)) return;
      fields.add(field);
      warnings.push(dropped(param, dialect));
    },
    warnings,
  };
}

/**
 * A part of a request that the target cannot express and must not lose.
 * @param text what to change; never quotes the request
 * @param param a path of the canonical request
 */
export function unsupported(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param } });
}
