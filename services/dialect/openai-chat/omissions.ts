import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { dropped } from "../events.ts";
import { dialectName } from "./extensions.ts";

/** What a request loses on its way to a target: hints, each with a warning. */
export interface Omissions {
  /** Notes that a field is left out. Of a field of many messages, parts or tools only the first is noted. */
  add(param: string): void;
  readonly warnings: readonly Warning[];
}

export function createOmissions(): Omissions {
  const fields = new Set<string>();
  const warnings: Warning[] = [];
  return {
    add(param) {
      const field = param.replace(/\[\d+\]/g, "");
      if (fields.has(field)) return;
      fields.add(field);
      warnings.push(dropped(param, dialectName));
    },
    warnings,
  };
}

/** What the target cannot express and must not lose. `text` tells the caller what to change. */
export function unsupported(param: string, text: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text, metadata: { param } });
}
