import type { Frame } from "../codec.ts";
import { parseObject } from "../json.ts";
import { createKeptBytes } from "../sse/kept-bytes.ts";
import type { FrameSplitter, FramingFault } from "./splitter.ts";

const lf = 0x0a;
const cr = 0x0d;

/** A JSON object for each line. Lines end in LF or CRLF; blank ones are no frames. */
export function createLineSplitter(frameBytesMax: number): FrameSplitter {
  const kept = createKeptBytes();
  let fault: FramingFault | undefined;

  /** Reads lines, each with its LF. */
  function readText(text: string, out: Frame[]): void {
    for (let at = 0; at < text.length; ) {
      const end = text.indexOf("\n", at);
      appendLine(text.slice(at, end), out);
      at = end + 1;
    }
  }

  /** Reads lines of which some may be too long. */
  function readLong(run: Buffer, out: Frame[]): void {
    for (let at = 0; at < run.length; ) {
      const end = run.indexOf(lf, at);
      if (end - at > frameBytesMax) {
        fault = { kind: "too-long" };
        return;
      }
      appendLine(run.toString("utf8", at, end), out);
      at = end + 1;
    }
  }

  return {
    push(bytes, out) {
      if (fault !== undefined || bytes.length === 0) return;
      const end = bytes.lastIndexOf(lf) + 1;
      if (end > 0) {
        const run = kept.take(bytes.subarray(0, end));
        if (run.length <= frameBytesMax) readText(run.toString("utf8"), out);
        else readLong(run, out);
      }
      if (end < bytes.length) kept.append(bytes.subarray(end));
      if (kept.length() > frameBytesMax) fault ??= { kind: "too-long" };
    },
    end(out) {
      const left = fault === undefined ? kept.take().toString("utf8") : "";
      if (left.trim() === "") return;
      if (parseObject(left) === undefined) fault = { kind: "malformed" };
      else appendLine(left, out);
    },
    keptBytes: kept.length,
    get fault() {
      return fault;
    },
  };
}

function appendLine(line: string, out: Frame[]): void {
  const data = line.charCodeAt(line.length - 1) === cr ? line.slice(0, -1) : line;
  if (data.charCodeAt(0) > 0x20 || data.trim() !== "") out.push({ type: "", data });
}
