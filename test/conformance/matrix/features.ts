import { expect } from "vitest";
import type { Cell } from "./cell.ts";
import { question, spoken, textReply } from "./speech.ts";

/** What one cell is held to; throws when it does not hold. @param warnings what the gateway must say it left out */
export type Feature = (cell: Cell, warnings: string) => Promise<void>;

export const features = {
  async text(cell, warnings) {
    await answered(cell, false, warnings);
  },
  async stream(cell, warnings) {
    await answered(cell, true, warnings);
  },
} as const satisfies Record<string, Feature>;

const user = { kind: "user", text: question } as const;

async function answered(cell: Cell, stream: boolean, warnings: string): Promise<void> {
  const prepared = cell.prepare({ kind: "answer", events: textReply() });
  const pieces: string[] = [];
  const seen = await prepared.ask({ stream, turns: [user], onText: (text) => pieces.push(text) });
  expect(seen).toMatchObject({ text: spoken, reasoning: "", calls: [], end: cell.client.ends.text, warnings });
  if (stream) {
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join("")).toBe(spoken);
  }
  expect(prepared.calls()).toMatchObject([{ stream, request: { messages: [{ parts: [textPart(question)] }] } }]);
}

function textPart(text: string) {
  return { content: { case: "text", value: { text } } };
}
