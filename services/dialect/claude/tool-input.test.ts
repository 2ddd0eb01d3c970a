import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, writeJson } from "../json.ts";
import { readInput, writeCallId, writeInput } from "./tool-input.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);
const timeout = 600_000;

function back(text: string): string {
  return readInput(parseExact(writeJson({ input: writeInput(text) }))?.["input"] as Record<string, unknown>);
}

test("arguments come back as they were, also when they are no object of JSON", { timeout }, () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.jsonValue().map((value) => writeJson(parseExact(JSON.stringify({ value }))?.["value"])),
    fc.constantFrom('{"INVALID_JSON":"a"}', '{"INVALID_JSON":1}', '{"INVALID_JSON":"a","b":1}', "[1]", '"a"', "1e400"),
  );
  fc.assert(
    fc.property(
      text.filter((value) => value.trim() !== ""),
      (value) => {
        expect(back(value)).toBe(value);
      },
    ),
    { numRuns },
  );
});

test.each(["", " ", "\n"])("arguments that nobody wrote are none: %j", (text) => {
  expect(back(text)).toBe("{}");
});

test("an object is written byte for byte, and its numbers are read as they stood", () => {
  const text = '{ "a" : 12345678901234567890 }';
  expect(writeJson(writeInput(text))).toBe(text);
  expect(back(text)).toBe('{"a":12345678901234567890}');
});

test("ids that the vendor takes stay, and others still pair", () => {
  expect(writeCallId("toolu_01-A")).toBe("toolu_01-A");
  fc.assert(
    fc.property(
      fc.string({ minLength: 1, unit: "binary" }),
      fc.string({ minLength: 1, unit: "binary" }),
      (one, other) => {
        expect(writeCallId(one)).toMatch(/^[\w-]+$/);
        expect(writeCallId(one) === writeCallId(other)).toBe(one === other);
      },
    ),
    { numRuns },
  );
});
