import fc from "fast-check";
import { expect, test } from "vitest";
import { opaqueBytes, opaqueText } from "./opaque.ts";

test("bytes come back, whatever they are", () => {
  const marked = fc.uint8Array().map((bytes) => Buffer.concat([Buffer.from("data:;base64,"), bytes]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), marked), (bytes) => {
      expect([...opaqueBytes(opaqueText(bytes))]).toEqual([...bytes]);
    }),
  );
});

test("a vendor's text comes back as it was", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.base64String(), fc.string({ unit: "grapheme" })).filter((text) => !text.startsWith("data:;base64,")),
      (text) => {
        expect(opaqueText(opaqueBytes(text))).toBe(text);
      },
    ),
  );
});
