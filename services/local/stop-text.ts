/** Text of a reply on its way out. */
export interface StopText {
  /** Takes more of the reply. @returns what may go out now */
  push(piece: string): string;
  /** What was held back, once the reply has ended. */
  rest(): string;
  /** The stop sequence that was met; nothing goes out after it. */
  readonly met: string | undefined;
}

/**
 * Cuts a reply before the first of its stop sequences, holding back no more than what may be the beginning of one.
 * @param stops not empty texts
 */
export function createStopText(stops: readonly string[]): StopText {
  let held = "";
  let met: string | undefined;
  return {
    push(piece) {
      if (met !== undefined) return "";
      held += piece;
      let end = -1;
      for (const stop of stops) {
        const at = held.indexOf(stop);
        if (at === -1 || (end !== -1 && (at > end || (at === end && stop.length <= (met?.length ?? 0))))) continue;
        end = at;
        met = stop;
      }
      if (end === -1) end = held.length - heldLength(held, stops);
      const out = held.slice(0, end);
      held = met === undefined ? held.slice(end) : "";
      return out;
    },
    rest() {
      const out = held;
      held = "";
      return out;
    },
    get met() {
      return met;
    },
  };
}

/** Length of the longest end of a text with which a stop sequence begins. */
function heldLength(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
      if (text.endsWith(stop.slice(0, length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}
