import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { approximated, dropped } from "./events.ts";

/**
 * What a request loses on its way to a target, each field with a warning. Of a field of many messages, parts or tools the
 * first alone is noted. Every `param` is a path of the canonical request.
 */
export interface Omissions {
  /** A hint that is left out. @param isThere whether there is anything to leave out */
  drop(param: string, isThere?: boolean): void;
  /** A field that is expressed by the nearest thing. @param text one sentence: what became of it */
  approximate(param: string, text: string): void;
  readonly warnings: readonly Warning[];
}

/** @param dialect the target's */
export function createOmissions(dialect: string): Omissions {
  const fields = new Set<string>();
  const warnings: Warning[] = [];
  const add = (item: Warning) => {
    const field = `${item.code} ${item.param.replace(/\[\d+\]/g, "")}`;
    if (!fields.has(field)) warnings.push(item);
    fields.add(field);
  };
  return {
    drop(param, isThere = true) {
      if (isThere) add(dropped(param, dialect));
    },
    approximate(param, text) {
      add(approximated(param, text));
    },
    warnings,
  };
}
