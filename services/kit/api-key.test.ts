import { createHmac, randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createKeyText, keyDigest, parseKeyText } from "./api-key.ts";

const bytes = (from: (index: number) => number) => (size: number) =>
  Uint8Array.from({ length: size }, (_, i) => from(i));

test("a key has its documented shape, and its id can be read back", () => {
  const key = createKeyText(randomBytes);
  expect(key.text).toMatch(/^weir_[a-z2-7]{16}_[a-z2-7]{32}_[a-z2-7]{7}$/);
  expect(key.text.slice(5, 21)).toBe(key.id);
  expect(parseKeyText(key.text)).toEqual({ id: key.id });
});

test("the text is the same for the same bytes for ever: stored digests depend on it", () => {
  // Computed with Python's base64.b32encode and zlib.crc32.
  expect(createKeyText(bytes((i) => i)).text).toBe("weir_aaaqeayeaudaocaj_aaaqeayeaudaocajbifqydiob4ibceqt_b553d6b");
  expect(createKeyText(bytes(() => 255)).text.slice(0, 55)).toBe(
    "weir_7777777777777777_77777777777777777777777777777777_",
  );
});

test("two keys never share an id or a secret", () => {
  const keys = Array.from({ length: 1000 }, () => createKeyText(randomBytes));
  expect(new Set(keys.map((key) => key.id)).size).toBe(1000);
  expect(new Set(keys.map((key) => key.text)).size).toBe(1000);
});

test("one wrong character anywhere is refused", () => {
  const { text } = createKeyText(randomBytes);
  fc.assert(
    fc.property(
      fc.nat(text.length - 1),
      fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz234567_ A\u00e9"),
      (at, wrong) => {
        fc.pre(text[at] !== wrong);
        expect(parseKeyText(text.slice(0, at) + wrong + text.slice(at + 1))).toBeUndefined();
      },
    ),
    { numRuns: 500 },
  );
});

test("two neighbours swapped are refused", () => {
  const { text } = createKeyText(randomBytes);
  for (let at = 5; at < text.length - 1; at++) {
    if (text[at] === text[at + 1]) continue;
    const swapped = text.slice(0, at) + text[at + 1] + text[at] + text.slice(at + 2);
    expect(parseKeyText(swapped)).toBeUndefined();
  }
});

test("any other text is refused", () => {
  fc.assert(fc.property(fc.string({ maxLength: 70 }), (text) => parseKeyText(text) === undefined));
  const { text } = createKeyText(randomBytes);
  for (const wrong of ["", "weir_", ` ${text}`, `${text} `, `${text}\n`, text.toUpperCase(), text.slice(0, -1)]) {
    expect(parseKeyText(wrong)).toBeUndefined();
  }
});

test("the digest is HMAC-SHA-256 of the whole text", () => {
  const pepper = randomBytes(32);
  const { text } = createKeyText(randomBytes);
  expect(keyDigest(pepper, text)).toEqual(createHmac("sha256", pepper).update(text, "utf8").digest());
  expect(keyDigest(pepper, text)).toHaveLength(32);
  expect(keyDigest(randomBytes(32), text)).not.toEqual(keyDigest(pepper, text));
});
