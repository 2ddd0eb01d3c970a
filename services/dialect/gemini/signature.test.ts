import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { markOwn, ownText, readProof, skipSignature, writeProof } from "./signature.ts";

const none = new Uint8Array(0);

test("a signature of Gemini's goes back byte for byte, and is no text to others", () => {
  fc.assert(
    fc.property(fc.base64String({ minLength: 4 }), (text) => {
      const { signature, ...rest } = readProof(text);
      expect(rest).toEqual({ sealed: none, id: "" });
      expect(isUtf8(signature)).toBe(false);
      expect(writeProof({ signature, ...rest })).toBe(text);
    }),
  );
});

test("another vendor's proof travels as base64, in either alphabet, and is never Gemini's", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), fc.string(), fc.boolean(), (signature, sealed, id, isUrl) => {
      fc.pre(signature.length + sealed.length + id.length > 0);
      const written = writeProof({ signature, sealed, id }) ?? "";
      expect(Buffer.from(written, "base64").toString("base64")).toBe(written);
      const read = readProof(isUrl ? Buffer.from(written, "base64").toString("base64url") : written);
      const plain = {
        signature: Buffer.from(read.signature).toString("hex"),
        sealed: Buffer.from(read.sealed).toString("hex"),
        id: read.id,
      };
      expect(plain).toEqual({
        signature: Buffer.from(signature).toString("hex"),
        sealed: Buffer.from(sealed).toString("hex"),
        id: Buffer.from(id).toString(),
      });
    }),
  );
});

test.each([undefined, "", skipSignature])("%s proves nothing", (text) => {
  expect(readProof(text)).toEqual({ signature: none, sealed: none, id: "" });
  expect(writeProof(readProof(text))).toBeUndefined();
});

test("only what was marked is Gemini's own", () => {
  expect(ownText(markOwn("QQ=="))).toBe("QQ==");
  expect(ownText(Buffer.from("QQ=="))).toBeUndefined();
  expect(ownText(none)).toBeUndefined();
});
