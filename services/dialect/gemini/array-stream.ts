import type { Frame } from "../codec.ts";
import { createFrameSplitter } from "../framing/splitter.ts";

/**
 * One answer of `streamGenerateContent` as clients get it who do not ask for `alt=sse`: one JSON array, of which each item leaves as soon
 * as it is there. https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
 */
export interface ArrayStream {
  /** Begins the array; empty when it has begun. */
  open(): string;
  /** Takes the next bytes of server-sent events; gives the items that they complete. */
  push(bytes: Buffer): string;
  /** The stream ended in order. Gives what is left and ends the array; undefined when the bytes stop inside an event, or could not be cut. */
  end(): string | undefined;
  /** Ends an array that is not whole: its last item is an error. @param error JSON */
  fail(error: string): string;
}

// The item's own line end, then the comma: as Google writes it, and what its line-wise readers split at.
const separator = "\n,\r\n";

/** Creates the re-framing of one answer. Keeps at most one event. */
export function createArrayStream(): ArrayStream {
  const splitter = createFrameSplitter("sse");
  let before = "[";

  function item(json: string): string {
    const text = before + json;
    before = separator;
    return text;
  }

  function items(frames: readonly Frame[]): string {
    let text = "";
    for (const { data } of frames) text += item(data);
    return text;
  }

  return {
    open() {
      if (before !== "[") return "";
      before = "";
      return "[";
    },
    push(bytes) {
      const frames: Frame[] = [];
      splitter.push(bytes, frames);
      return items(frames);
    },
    end() {
      const frames: Frame[] = [];
      splitter.end(frames);
      if (splitter.fault !== undefined) return undefined;
      const text = items(frames);
      return `${text}${before === "[" ? "[" : ""}]`;
    },
    fail: (error) => `${item(error)}]`,
  };
}
