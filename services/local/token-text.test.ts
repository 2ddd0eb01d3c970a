import fc from "fast-check";
import { expect, test } from "vitest";
import type { Token } from "node-llama-cpp";
import { createTokenText } from "./token-text.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);

/** A vocabulary in which each byte is a token of its own. */
const detokenize = (tokens: readonly Token[]) => Buffer.from(tokens.map(Number)).toString();

test("text whose characters are several tokens comes whole, and each character once it is complete", () => {
  fc.assert(
    // The character that stands for broken ones cannot be told from them.
    fc.property(
      fc.string({ unit: "grapheme" }).filter((drawn) => !drawn.includes("\ufffd")),
      (text) => {
        const tokens = createTokenText(detokenize);
        const pieces = [...Buffer.from(text)].map((byte) => tokens.push(byte as Token));
        expect(pieces.join("") + tokens.rest()).toBe(text);
        expect(pieces.join("")).toBe(text);
      },
    ),
    { numRuns },
  );
});

test("bytes that make no character are told as such, and what follows is text again", () => {
  const tokens = createTokenText(detokenize);
  const bytes = [0xe2, 0x82, 0x41, 0xff, 0xff, 0xff, 0xff, 0x42];
  const pieces = bytes.map((byte) => tokens.push(byte as Token));
  expect(pieces.join("") + tokens.rest()).toMatch(/^\uFFFD+A\uFFFD+B$/);
});
