import { type Script, ScriptError } from "./script.ts";

/** A script that waits for requests. */
export interface QueuedScript {
  readonly script: Script;
  /** Only for requests that name this model. Undefined: for any. */
  readonly model?: string | undefined;
  /** Requests that it is laid over, after which it is gone. */
  readonly times: number;
}

/** Scripts in the order in which they were added; a request takes the first one that fits it. */
export interface ScriptQueue {
  /** @throws ScriptError when too many wait */
  add(entry: QueuedScript): void;
  take(model: string): Script | undefined;
  clear(): void;
}

const entriesMax = 10_000;

export function createScriptQueue(): ScriptQueue {
  let entries: { script: Script; model: string | undefined; times: number }[] = [];
  return {
    add({ script, model, times }) {
      if (entries.length >= entriesMax) throw new ScriptError(`more than ${entriesMax} scripts wait`);
      if (!(times >= 1)) throw new ScriptError("times is at least 1");
      entries.push({ script, model, times });
    },
    take(model) {
      const index = entries.findIndex((entry) => entry.model === undefined || entry.model === model);
      const entry = entries[index];
      if (entry === undefined) return undefined;
      entry.times--;
      if (entry.times <= 0) entries.splice(index, 1);
      return entry.script;
    },
    clear() {
      entries = [];
    },
  };
}
