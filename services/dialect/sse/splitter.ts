import { createKeptBytes } from "./kept-bytes.ts";

const lf = 0x0a;
const cr = 0x0d;
const lfLf = Buffer.from("\n\n");
const lfCr = Buffer.from("\n\r");
const crCr = Buffer.from("\r\r");

/** Cuts a stream of server-sent events, however its bytes arrive, into runs of whole events. */
export interface EventSplitter {
  /**
   * Takes the next bytes and returns the whole events that they complete, blank lines included, with what was kept from
   * before in front; undefined when no event is complete yet. Does not copy unless something was kept. Keeps what is
   * left: do not write to `bytes` afterwards.
   */
  push(bytes: Buffer): Buffer | undefined;
  /** What is left after the last blank line; undefined when nothing is. Call once, at the end of the stream. */
  end(): Buffer | undefined;
  /** Bytes kept: the length of the event that is not complete, so far. */
  keptBytes(): number;
}

/**
 * Lines end in LF, CR or CRLF, mixed as they like, and a blank line ends an event: https://html.spec.whatwg.org/multipage/server-sent-events.html.
 * A CR at the end of the bytes is not judged until the next byte tells whether an LF belongs to it.
 */
export function createEventSplitter(): EventSplitter {
  const kept = createKeptBytes();
  let lineEmpty = true;
  let afterCr = false;

  /** Offset of the end of the last whole event in `bytes`, -1 when there is none; moves the line state to their end. */
  function lastBoundary(bytes: Buffer): number {
    const { length } = bytes;
    if (bytes[length - 1] === lf && endsBlank(bytes)) {
      lineEmpty = true;
      afterCr = false;
      return length;
    }
    let boundary = -1;
    let start = 0;
    if (afterCr) {
      if (bytes[0] === lf) start = 1;
      if (lineEmpty) boundary = start;
      lineEmpty = true;
      afterCr = false;
      if (start === length) return boundary;
    }
    if (lineEmpty) boundary = Math.max(boundary, lineEndAfter(bytes, start));
    boundary = Math.max(boundary, lastBlankLine(bytes));
    const last = bytes[length - 1];
    if (last === cr) {
      afterCr = true;
      if (length - 1 > start) lineEmpty = isLineEnd(bytes[length - 2]);
    } else lineEmpty = last === lf;
    return boundary;
  }

  return {
    push(bytes) {
      if (bytes.length === 0) return undefined;
      const boundary = lastBoundary(bytes);
      if (boundary < 0) {
        kept.append(bytes);
        return undefined;
      }
      if (boundary === bytes.length) return kept.take(bytes);
      const whole = kept.take(bytes.subarray(0, boundary));
      kept.append(bytes.subarray(boundary));
      return whole;
    },
    end() {
      return kept.length() === 0 ? undefined : kept.take();
    },
    keptBytes: kept.length,
  };
}

/** Whether bytes that end in LF end in a blank line, going by themselves alone. */
function endsBlank(bytes: Buffer): boolean {
  const { length } = bytes;
  const before = bytes[length - 2];
  return before === lf || (before === cr && isLineEnd(bytes[length - 3]));
}

function isLineEnd(byte: number | undefined): boolean {
  return byte === lf || byte === cr;
}

/**
 * Where the last blank line ends, -1 when there is none: LF LF, LF CR and CR CR are two line ends whatever stands around
 * them, and no others meet without being one. Does not see a blank line that begins with the bytes.
 */
function lastBlankLine(bytes: Buffer): number {
  const at = bytes.lastIndexOf(lfLf);
  const end = at < 0 ? -1 : at + 2;
  if (!bytes.includes(cr)) return end;
  return Math.max(end, lastEndOf(bytes, lfCr), lastEndOf(bytes, crCr));
}

/** Where the last blank line of a form that ends in CR ends, as far as it is decided. */
function lastEndOf(bytes: Buffer, form: Buffer): number {
  let at = bytes.lastIndexOf(form);
  if (at === bytes.length - 2 && at > 0) at = bytes.lastIndexOf(form, at - 1);
  return at < 0 ? -1 : lineEndAfter(bytes, at + 1);
}

/** The offset after the line end that stands at an offset; -1 when none does, or when it is not decided. */
function lineEndAfter(bytes: Buffer, at: number): number {
  if (bytes[at] === lf) return at + 1;
  if (bytes[at] !== cr || at + 1 === bytes.length) return -1;
  return bytes[at + 1] === lf ? at + 2 : at + 1;
}
