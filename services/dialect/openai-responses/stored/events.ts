import { parseObject } from "../../json.ts";
import { scanMembers } from "../../json-scan.ts";
import { readEvent } from "../../sse/event.ts";
import { depthMax } from "./splice.ts";

/** A stretch of a stream. */
export type StreamPiece =
  /** Events that say nothing of the Response as a whole. */
  | { readonly kind: "other"; readonly bytes: Buffer }
  /** An output item that is whole. */
  | { readonly kind: "item"; readonly bytes: Buffer; readonly item: Buffer }
  /** An event that holds the Response as it is now. */
  | {
      readonly kind: "response";
      readonly bytes: Buffer;
      readonly response: Buffer;
      /** Whether it is the last of its stream. */
      readonly isLast: boolean;
      /** The same event with another Response in it. */
      with(response: Buffer): Buffer;
    };

const responseMark = Buffer.from('"response"');
const itemMark = Buffer.from('output_item.done"');
const eventMembers: ReadonlySet<string> = new Set(["type", "response", "item"]);
const lastTypes: ReadonlySet<unknown> = new Set(["response.completed", "response.incomplete", "response.failed"]);

/**
 * Whether some bytes of a stream may hold more than deltas. A native search: inside a text the quotes would be escaped, so that
 * what a model says is no mark.
 */
export function mayHoldState(bytes: Buffer): boolean {
  return bytes.includes(responseMark) || bytes.includes(itemMark);
}

/** Takes whole events apart. The pieces' bytes, one after another, are those that came. */
export function readPieces(bytes: Buffer): StreamPiece[] {
  // One character for each byte, so that offsets in the text are offsets in the bytes.
  const text = bytes.toString("latin1");
  const pieces: StreamPiece[] = [];
  let otherStart = 0;
  for (let at = 0; at < text.length; ) {
    const { end, type, data } = readEvent(text, at);
    const piece = data === undefined ? undefined : readPiece(bytes.subarray(at, end), type, data);
    if (piece !== undefined) {
      if (otherStart < at) pieces.push({ kind: "other", bytes: bytes.subarray(otherStart, at) });
      pieces.push(piece);
      otherStart = end;
    }
    at = end;
  }
  if (otherStart < bytes.length) pieces.push({ kind: "other", bytes: bytes.subarray(otherStart) });
  return pieces;
}

function readPiece(bytes: Buffer, eventType: string, latinData: string): StreamPiece | undefined {
  const data = Buffer.from(latinData, "latin1");
  if (!mayHoldState(data)) return undefined;
  const spans = scanMembers(data, eventMembers, depthMax)?.spans;
  const typeSpan = spans?.get("type");
  const type =
    typeSpan === undefined
      ? eventType
      : parseObject(`{"type":${data.toString("utf8", typeSpan.start, typeSpan.end)}}`)?.["type"];
  const item = spans?.get("item");
  if (type === "response.output_item.done" && item !== undefined) {
    return { kind: "item", bytes, item: data.subarray(item.start, item.end) };
  }
  const span = spans?.get("response");
  if (span === undefined || data[span.start] !== 0x7b) return undefined;
  return {
    kind: "response",
    bytes,
    response: data.subarray(span.start, span.end),
    isLast: lastTypes.has(type),
    with(response) {
      const whole = Buffer.concat([data.subarray(0, span.start), response, data.subarray(span.end)]);
      // A line break between two tokens would begin another line of the event.
      const lines = whole.toString().replaceAll("\n", "\ndata: ");
      return Buffer.from(`${eventType === "" ? "" : `event: ${eventType}\n`}data: ${lines}\n\n`);
    },
  };
}
