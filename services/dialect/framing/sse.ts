import type { Frame } from "../codec.ts";
import { parseObject } from "../json.ts";
import { readEvent } from "../sse/event.ts";
import { createEventSplitter } from "../sse/splitter.ts";
import type { FrameSplitter, FramingFault } from "./splitter.ts";

const byteOrderMark = 0xfeff;

/** Server-sent events. Comments, and events without data, are no frames. */
export function createSseSplitter(frameBytesMax: number): FrameSplitter {
  const events = createEventSplitter();
  let begun = false;
  let fault: FramingFault | undefined;

  /** Where the first event of a text begins: a mark at the beginning of the stream is no part of it. */
  function textStart(text: string): number {
    const marked = !begun && text.charCodeAt(0) === byteOrderMark;
    begun = true;
    return marked ? 1 : 0;
  }

  function readText(text: string, out: Frame[]): void {
    const lfOnly = !text.includes("\r");
    for (let at = textStart(text); at < text.length; ) {
      const event = readEvent(text, at, lfOnly);
      if (hasData(event.data)) out.push({ type: event.type, data: event.data });
      at = event.end;
    }
  }

  /** Reads events of which some may be too long. */
  function readLong(run: Buffer, out: Frame[]): void {
    const text = run.toString("latin1"); // a character for each byte
    for (let at = 0; at < text.length; ) {
      const { end } = readEvent(text, at);
      if (end - at > frameBytesMax) {
        fault = { kind: "too-long" };
        return;
      }
      readText(run.toString("utf8", at, end), out);
      at = end;
    }
  }

  return {
    push(bytes, out) {
      if (fault !== undefined) return;
      const run = events.push(bytes);
      if (run !== undefined) {
        if (run.length <= frameBytesMax) readText(run.toString("utf8"), out);
        else readLong(run, out);
      }
      if (events.keptBytes() > frameBytesMax) fault ??= { kind: "too-long" };
    },
    end(out) {
      const left = fault === undefined ? events.end() : undefined;
      if (left === undefined) return;
      const text = left.toString("utf8");
      for (let at = textStart(text); at < text.length; ) {
        const { type, data, end } = readEvent(text, at);
        at = end;
        if (!hasData(data)) continue;
        if (end < text.length || endsBlank.test(text) || isWhole(data)) out.push({ type, data });
        else fault = { kind: "malformed" };
      }
    },
    keptBytes: events.keptBytes,
    get fault() {
      return fault;
    },
  };
}

/** A CR that might have had an LF to come, after another line end. */
const endsBlank = /(?:^|[\r\n])\r$/;

/** Whether an event has more than white space to say. */
function hasData(data: string | undefined): data is string {
  return data !== undefined && (data.charCodeAt(0) > 0x20 || data.trim() !== "");
}

/** Whether data whose event lacks its blank line cannot be the beginning of something longer. */
function isWhole(data: string): boolean {
  return data.trim() === "[DONE]" || parseObject(data) !== undefined;
}
