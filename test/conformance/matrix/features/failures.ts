import { expect, vi } from "vitest";
import { vendorWords } from "../../vendors/refusals.ts";
import type { Break } from "../../vendors/script.ts";
import type { Prepared } from "../cell.ts";
import { raisedFor } from "../expected/errors.ts";
import { answered, type Feature } from "../outcome.ts";
import { question, spoken, textStart } from "../speech.ts";

// What goes wrong at the vendor is raised to the user.

const user = { kind: "user", text: question } as const;

/** Errors in place of an answer. */
export const refused: Feature = async (cell) => {
  for (const status of [400, 429, 500] as const) {
    for (const stream of [false, true]) {
      const headers: Record<string, string> = status === 429 ? { "retry-after": "7" } : {};
      const prepared = cell.prepare({ kind: "refusal", status, headers });
      const { message, ...raised } = await prepared.fail({ stream, turns: [user] });
      expect(raised).toEqual(raisedFor(cell.name, status, cell.sameDialect));
      // A vendor's words are for clients that speak its dialect.
      expect(message.includes(vendorWords)).toBe(status === 400 && cell.sameDialect);
      expect(prepared.calls()).toHaveLength(1);
    }
  }
  return answered({ warnings: "" });
};

/** Answers that break after content, in every way: none of them ends as if it were whole. */
export const brokenAfterContent: Feature = async (cell) => {
  for (const how of ["cut", "short", "error"] satisfies Break[]) {
    const prepared = cell.prepare({ kind: "broken", events: textStart(), how });
    const pieces: string[] = [];
    const raised = await prepared.fail({ stream: true, turns: [user], onText: (text) => pieces.push(text) });
    expect(raised.message).not.toBe("");
    expect(pieces).not.toEqual([]);
    expect(spoken.startsWith(pieces.join(""))).toBe(true);
  }
  return answered({ warnings: "" });
};

/** Calls that the user aborts, before the answer and in its middle. */
export const aborted: Feature = async (cell) => {
  const waiting = cell.prepare({ kind: "broken", events: [], how: "silence" });
  const whole = new AbortController();
  const first = waiting.fail({ stream: false, turns: [user], signal: whole.signal });
  await vi.waitFor(() => expect(waiting.calls()).toHaveLength(1));
  whole.abort();
  await hungUp(waiting);
  await first;

  const speaking = cell.prepare({ kind: "broken", events: textStart(), how: "silence" });
  const streamed = new AbortController();
  const onText = () => streamed.abort();
  await speaking.fail({ stream: true, turns: [user], signal: streamed.signal, onText });
  await hungUp(speaking);
  return answered({ warnings: "" });
};

/** The vendor's connection closes within a second. */
async function hungUp(prepared: Prepared): Promise<void> {
  const late = new Promise((resolve) => setTimeout(resolve, 1_000, "not within a second"));
  expect(await Promise.race([prepared.calls()[0]?.hungUp, late])).toBeUndefined();
}
