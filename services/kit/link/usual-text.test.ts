import fc from "fast-check";
import { expect, test } from "vitest";
import { usualText } from "./usual-text.ts";

const runs = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);

/** Few bytes, so that texts share their length and ending: ASCII, parts of UTF-8 sequences, and bytes of none. */
const bytes = fc
  .array(fc.constantFrom(0x00, 0x61, 0x62, 0x7f, 0xc3, 0xa9, 0xe9, 0xff), { maxLength: 4 })
  .map((numbers) => Buffer.from(numbers));

test("it reads what a decoder reads, whatever was read before", () => {
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 12 }), (texts) => {
      const all = Buffer.concat(texts);
      let at = 0;
      for (const text of texts) {
        expect(usualText(all, at, at + text.length)).toBe(text.toString("utf8"));
        at += text.length;
      }
    }),
    { numRuns: runs },
  );
});

test("long texts are read as well", () => {
  for (const length of [62, 63, 64, 65, 200]) {
    const text = Buffer.from("x".repeat(length));
    for (let time = 0; time < 2; time += 1) expect(usualText(text, 0, length)).toBe("x".repeat(length));
  }
});
