const lf = 0x0a;
const cr = 0x0d;
const blankLine = Buffer.from("\n\n");

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
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let lineEmpty = true;
  let afterCr = false;

  /** Offset of the end of the last whole event in `bytes`, -1 when there is none; moves the line state to their end. */
  function lastBoundary(bytes: Buffer): number {
    const { length } = bytes;
    if (!afterCr && bytes[length - 1] === lf && endsBlank(bytes)) {
      lineEmpty = true;
      return length;
    }
    if (!afterCr && bytes.indexOf(cr) < 0) {
      const at = bytes.lastIndexOf(blankLine);
      const boundary = at >= 0 ? at + 2 : lineEmpty && bytes[0] === lf ? 1 : -1;
      lineEmpty = bytes[length - 1] === lf;
      return boundary;
    }
    let boundary = -1;
    for (let at = 0; at < length; at += 1) {
      const byte = bytes[at];
      if (afterCr) {
        afterCr = false;
        const end = byte === lf ? at + 1 : at;
        if (lineEmpty) boundary = end;
        lineEmpty = true;
        if (byte === lf) continue;
      }
      if (byte === cr) afterCr = true;
      else if (byte === lf) {
        if (lineEmpty) boundary = at + 1;
        lineEmpty = true;
      } else lineEmpty = false;
    }
    return boundary;
  }

  function take(bytes: Buffer): Buffer {
    if (keptBytes === 0) return bytes;
    kept.push(bytes);
    const whole = Buffer.concat(kept, keptBytes + bytes.length);
    kept = [];
    keptBytes = 0;
    return whole;
  }

  function keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    kept.push(bytes);
    keptBytes += bytes.length;
  }

  return {
    push(bytes) {
      if (bytes.length === 0) return undefined;
      const boundary = lastBoundary(bytes);
      if (boundary < 0) {
        keep(bytes);
        return undefined;
      }
      if (boundary === bytes.length) return take(bytes);
      const whole = take(bytes.subarray(0, boundary));
      keep(bytes.subarray(boundary));
      return whole;
    },
    end() {
      return keptBytes === 0 ? undefined : take(Buffer.alloc(0));
    },
    keptBytes: () => keptBytes,
  };
}

/** Whether bytes that end in LF end in a blank line, going by themselves alone. */
function endsBlank(bytes: Buffer): boolean {
  const { length } = bytes;
  const before = bytes[length - 2];
  return before === lf || (before === cr && bytes[length - 3] === lf);
}
