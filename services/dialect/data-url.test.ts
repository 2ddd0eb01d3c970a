import fc from "fast-check";
import { expect, test } from "vitest";
import { readBase64, writeBase64 } from "./base64.ts";
import { isDataUrl, readDataUrl, writeDataUrl } from "./data-url.ts";
import { imageType } from "./image-type.ts";

const bytes = fc.uint8Array({ maxLength: 40 });

test("bytes survive a data URL", () => {
  fc.assert(
    fc.property(bytes, fc.constantFrom("", "image/png", "text/plain;charset=utf-8"), (data, mediaType) => {
      const read = readDataUrl(writeDataUrl({ mediaType, data }));
      expect(read?.mediaType).toBe(mediaType);
      expect([...(read?.data ?? [])]).toEqual([...data]);
    }),
  );
});

test.each(["data:image/png,AAAA", "data:image/png;base64", "data:image/png;base64,A?==", "data:;base64,AAAAA"])(
  "not a base64 data URL: %s",
  (url) => {
    expect(readDataUrl(url)).toBeUndefined();
  },
);

test("base64 of either alphabet, padded or not, with line breaks", () => {
  const data = Uint8Array.of(0xfb, 0xff, 0xfe, 0x01);
  expect(writeBase64(data)).toBe("+//+AQ==");
  for (const text of ["+//+AQ==", "+//+AQ", "-__-AQ", "+//+\r\nAQ==\n"])
    expect(readBase64(text)).toEqual(Buffer.from(data));
  for (const text of ["+//+AQ==x", "+//*AQ==", "hello world", "A"]) expect(readBase64(text)).toBeUndefined();
});

test("a scheme counts in any case", () => {
  expect(isDataUrl("DATA:image/png;base64,AA")).toBe(true);
  expect(isDataUrl("https://example.org/data:")).toBe(false);
});

test.each([
  ["image/png", "\x89PNG\r\n\x1a\n...."],
  ["image/jpeg", "\xff\xd8\xff\xe0........"],
  ["image/gif", "GIF89a......"],
  ["image/webp", "RIFF\x01\x02\x03\x04WEBPVP8 "],
  ["", "RIFF\x01\x02\x03\x04WAVEfmt "],
  ["", ""],
])("%s by its first bytes", (type, head) => {
  expect(imageType(Buffer.from(head, "latin1"))).toBe(type);
});
