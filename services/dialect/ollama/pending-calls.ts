import { StopReason, type ToolCallDelta } from "@weir/gen/weir/chat/v1/event_pb";
import type { JsonObject } from "../json.ts";
import { argumentsObject } from "./tool-calls.ts";

interface Call {
  id: string;
  name: string;
  arguments: string;
}

/** Calls whose arguments may still grow: this dialect has whole ones only. */
export interface PendingCalls {
  /** Begins or continues the call of a part. */
  add(part: number, delta: ToolCallDelta): void;
  /** Takes all calls when each of them is whole, else none: more may come. */
  takeWhole(): JsonObject[];
  /**
   * Takes all calls at the end of the reply. One whose arguments were cut off with the reply is left out, as a server does.
   * @returns undefined when arguments are no JSON object for any other reason
   */
  takeRest(reason: StopReason): JsonObject[] | undefined;
}

const cutReasons: ReadonlySet<StopReason> = new Set([
  StopReason.LENGTH,
  StopReason.CONTEXT_FULL,
  StopReason.CONTENT_FILTER,
]);

export function createPendingCalls(): PendingCalls {
  let calls = new Map<number, Call>();
  let taken = 0;

  function write({ id, name, arguments: text }: Call): JsonObject | undefined {
    const object = argumentsObject(text);
    return object === undefined ? undefined : { id, function: { name, arguments: object } };
  }

  /** Numbers calls, as a server does. */
  function take(written: readonly JsonObject[]): JsonObject[] {
    calls = new Map();
    return written.map((call) => {
      const target = { index: taken, ...(call["function"] as JsonObject) };
      taken += 1;
      return { ...call, function: target };
    });
  }

  return {
    add(part, delta) {
      const call = calls.get(part);
      if (call === undefined) calls.set(part, { id: delta.id, name: delta.name, arguments: delta.arguments });
      else {
        call.id ||= delta.id;
        call.name ||= delta.name;
        call.arguments += delta.arguments;
      }
    },
    takeWhole() {
      if (calls.size === 0) return [];
      const written = [...calls.values()].map(write);
      return written.every((call) => call !== undefined) ? take(written) : [];
    },
    takeRest(reason) {
      const written: JsonObject[] = [];
      for (const call of calls.values()) {
        const whole = write(call);
        if (whole !== undefined) written.push(whole);
        else if (!cutReasons.has(reason)) return undefined;
      }
      return take(written);
    },
  };
}
