import fc from "fast-check";
import { expect, test } from "vitest";
import { readEvent } from "./event.ts";
import { createEventSplitter } from "./splitter.ts";

/** Feeds pieces and returns each run of events, and what is left. */
function feed(pieces: readonly Buffer[]) {
  const splitter = createEventSplitter();
  const runs: string[] = [];
  for (const piece of pieces) {
    const run = splitter.push(piece);
    if (run !== undefined) runs.push(run.toString("latin1"));
  }
  const keptBytes = splitter.keptBytes();
  const left = splitter.end()?.toString("latin1") ?? "";
  expect(left.length).toBe(keptBytes);
  return { runs, left };
}

function cut(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const sorted = [...offsets].map((offset) => offset % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...sorted].map((offset, index) => bytes.subarray(offset, sorted[index] ?? bytes.length));
}

/** The end of the last whole event, byte by byte, by the standard's own words. */
function referenceEnd(text: string): number {
  let end = 0;
  let lineStart = 0;
  for (let at = 0; at < text.length; ) {
    const char = text[at];
    const next = char === "\r" && text[at + 1] === "\n" ? at + 2 : at + 1;
    if (char === "\r" || char === "\n") {
      const undecided = char === "\r" && at === text.length - 1;
      if (at === lineStart && !undecided) end = next;
      lineStart = next;
    }
    at = next;
  }
  return end;
}

const soup = fc.string({ unit: fc.constantFrom("a", "\n", "\r", "\r\n", "\n\n", ": b", "é"), maxLength: 40 });

test("however the bytes are cut, the runs together are all whole events", () => {
  fc.assert(
    fc.property(soup, fc.array(fc.nat(), { maxLength: 10 }), (text, offsets) => {
      const bytes = Buffer.from(text);
      const latin = bytes.toString("latin1");
      const { runs, left } = feed(cut(bytes, offsets));
      expect(runs.join("") + left).toBe(latin);
      expect(runs.join("").length).toBe(referenceEnd(latin));
    }),
    { numRuns: 5_000 },
  );
});

test("a run of whole events is not copied", () => {
  const bytes = Buffer.from("data: 1\n\ndata: 2\n\n");
  expect(createEventSplitter().push(bytes)).toBe(bytes);
});

test("many small pieces of one event are one run", () => {
  const splitter = createEventSplitter();
  const piece = Buffer.alloc(64, "x");
  for (let i = 0; i < 100_000; i += 1) expect(splitter.push(piece) === undefined).toBe(true);
  expect(splitter.keptBytes()).toBe(6_400_000);
  expect(splitter.push(Buffer.from("\n\n"))?.length).toBe(6_400_002);
  expect(splitter.keptBytes()).toBe(0);
});

test("a text that is known to hold no CR is read alike", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("data:", "event: ", "a", "\n", ": b"), maxLength: 20 }),
      fc.nat(),
      (text, from) => {
        const at = from % (text.length + 1);
        expect(readEvent(text, at, true)).toEqual(readEvent(text, at));
      },
    ),
    { numRuns: 2_000 },
  );
});

test.each<[string, string, string, string | undefined]>([
  ["one line", "data: x\n\n", "", "x"],
  ["no space", "data:x\n\n", "", "x"],
  ["two spaces", "data:  x\n\n", "", " x"],
  ["lines are joined", "data: x\ndata: y\n\n", "", "x\ny"],
  ["a type", "event: ping\ndata: x\n\n", "ping", "x"],
  ["CRLF", "event: ping\r\ndata: x\r\n\r\n", "ping", "x"],
  ["CR", "event: ping\rdata: x\r\r", "ping", "x"],
  ["a comment", ": hello\n\n", "", undefined],
  ["a comment among others", ": hello\ndata: x\n\n", "", "x"],
  ["a field without colon", "data\n\n", "", ""],
  ["an empty field", "data:\n\n", "", ""],
  ["another field that begins alike", "database: x\ndata2: y\n\n", "", undefined],
  ["no blank line", "data: x", "", "x"],
  ["a blank line alone", "\n", "", undefined],
])("an event with %s", (_, text, type, data) => {
  expect(readEvent(text, 0)).toEqual({ end: text.length, type, data });
  expect(
    readEvent(`${text.endsWith("x") ? "" : "data: before\n\n"}${text}`, text.endsWith("x") ? 0 : 14),
  ).toMatchObject({ type, data });
});
