import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped, warning } from "../events.ts";
import { dialectName } from "./faults.ts";

/**
 * What a request loses on its way to a target, each field with a warning. Of a field of many messages, parts or tools only
 * the first is noted.
 */
export interface Omissions {
  /** A hint that was left out. @param param a path of the canonical request */
  drop(param: string): void;
  /** A field that was expressed by the nearest thing. @param text one sentence: what became of it */
  approximate(param: string, text: string): void;
  readonly warnings: readonly Warning[];
}

export function createOmissions(): Omissions {
  const fields = new Set<string>();
  const warnings: Warning[] = [];
  const add = (item: Warning) => {
    const field = `${item.code} ${item.param.replace(/\[\d+\]/g, "")}`;
    if (!fields.has(field)) warnings.push(item);
    fields.add(field);
  };
  return {
    drop: (param) => add(dropped(param, dialectName)),
    approximate: (param, text) => add(warning("field_approximated", param, text)),
    warnings,
  };
}
