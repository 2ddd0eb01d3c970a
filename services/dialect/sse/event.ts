/** One server-sent event. */
export interface SseEvent {
  /** Offset of the character after the blank line that ends it, or of the end of the text. */
  readonly end: number;
  /** Its `event` field; empty when it has none. */
  readonly type: string;
  /** Its `data` lines, joined; undefined when it has none, as a comment. */
  readonly data: string | undefined;
}

/**
 * Reads the event that begins at an offset. https://html.spec.whatwg.org/multipage/server-sent-events.html, but that an
 * event without its blank line, at the end of the text, counts.
 * @param text whole events
 * @param lfOnly whether the text is known to hold no CR, which is faster
 */
export function readEvent(text: string, from: number, lfOnly = false): SseEvent {
  let type = "";
  let data: string | undefined;
  let start = from;
  while (start < text.length) {
    let end = text.length;
    let next = end;
    if (lfOnly) {
      const at = text.indexOf("\n", start);
      if (at >= 0) {
        end = at;
        next = at + 1;
      }
    } else {
      lineEnding.lastIndex = start;
      const ending = lineEnding.exec(text);
      if (ending !== null) {
        end = ending.index;
        next = lineEnding.lastIndex;
      }
    }
    if (end === start) return { end: next, type, data };
    const field = fieldEnd(text, start, end);
    if (text.startsWith("data", start) && field === start + 4) {
      const line = fieldValue(text, field, end);
      data = data === undefined ? line : `${data}\n${line}`;
    } else if (text.startsWith("event", start) && field === start + 5) {
      type = fieldValue(text, field, end);
    }
    start = next;
  }
  return { end: start, type, data };
}

const lineEnding = /\r\n|\r|\n/g;

/** Where a field's name ends: at its colon, else with its line. */
function fieldEnd(text: string, start: number, end: number): number {
  for (let at = start; at < end && at < start + 6; at += 1) if (text.charCodeAt(at) === 0x3a) return at;
  return end;
}

/** What follows a field's colon, without one space in front. */
function fieldValue(text: string, colon: number, end: number): string {
  const start = text.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1;
  return text.slice(Math.min(start, end), end);
}
