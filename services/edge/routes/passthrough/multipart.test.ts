import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { boundaryOf, MultipartReader } from "./multipart.ts";

const part = (name: string, content: string, more = "") =>
  `--B\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${content}\r\n`;

/** What a reader says of a body that comes in pieces of the given sizes: bytes with the model's place marked. */
function read(body: string, sizes: readonly number[] = []) {
  let bytes = "";
  const fields: Record<string, string> = {};
  const contents: string[] = [];
  const reader = new MultipartReader("B", {
    bytes: (piece) => (bytes += piece.toString("latin1")),
    model: (name) => (bytes += `<<${name}>>`),
    field: (name, value) => (fields[name] = value),
    content: (piece) => contents.push(piece?.toString("latin1") ?? "end"),
  });
  const all = Buffer.from(body, "latin1");
  let at = 0;
  for (const size of sizes) {
    reader.write(all.subarray(at, at + size));
    at += size;
  }
  reader.write(all.subarray(at));
  reader.end();
  return { bytes, fields, file: contents.join("|").replace(/\|(?!end)/g, "") };
}

const whole = `${part("file", "a\r\n--Bx\r\n--\r\n", '; filename="a; name=\\"model\\".wav"')}${part("model", "whisper-1")}${part("n", "2")}--B--\r\n`;

test("bytes pass as they are but for the model, wherever they are cut", () => {
  const plain = `${part("file", "a\r\n--\r\n-B\r\n", '; filename="a.wav"')}${part("model", "whisper-1")}${part("n", "2")}--B--\r\n`;
  const expected = {
    bytes: plain.replace("whisper-1", "<<whisper-1>>"),
    fields: { n: "2" },
    file: "a\r\n--\r\n-B\r\n|end",
  };
  for (let at = 0; at <= plain.length; at += 1) expect(read(plain, [at])).toEqual(expected);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 60 }), (sizes) => {
      expect(read(plain, sizes)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

test("any content that does not hold the delimiter passes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.integer({ min: 1, max: 9 })), (content, sizes) => {
      const text = Buffer.from(content).toString("latin1");
      fc.pre(!`\r\n${text}`.includes("\r\n--B"));
      const body = `${part("file", text)}${part("model", "")}--B--`;
      expect(read(body, sizes).bytes).toBe(`${part("file", text)}${part("model", "<<>>")}--B--`);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ["a preamble", `hello\r\n${part("a", "b")}--B--`],
  ["an endless preamble", "x".repeat(100_000)],
  ["an epilogue", `${part("a", "b")}--B--\r\nmore`],
  ["no end", part("a", "b")],
  ["nothing", ""],
  ["two models", `${part("model", "a")}${part("model", "b")}--B--`],
  ["two files", `${part("file", "a")}${part("file", "b")}--B--`],
  ["two purposes", `${part("purpose", "a")}${part("purpose", "b")}--B--`],
  ["a model that is too long", `${part("model", "m".repeat(257))}--B--`],
  ["a boundary with something behind it", whole],
  ["a name with a quote in it", `--B\r\nContent-Disposition: form-data; name="mo\\"del"\r\n\r\nx\r\n--B--`],
  ["a name without quotes", "--B\r\nContent-Disposition: form-data; name=model\r\n\r\nx\r\n--B--"],
  ["an extended name", "--B\r\nContent-Disposition: form-data; name*=UTF-8''model\r\n\r\nx\r\n--B--"],
  ["two names", '--B\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\nx\r\n--B--'],
  [
    "two dispositions",
    '--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--B--',
  ],
  ["no disposition", "--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--"],
  ["no headers", "--B\r\n\r\nx\r\n--B--"],
  ["a folded header", '--B\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nx\r\n--B--'],
  [
    "a transfer encoding",
    '--B\r\nContent-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--',
  ],
  ["headers without end", `--B\r\n${"X: y\r\n".repeat(2_000)}`],
  ["bare line feeds", '--B\nContent-Disposition: form-data; name="model"\n\nx\n--B--'],
  ["too many parts", `${part("a", "").repeat(513)}--B--`],
  ["a file by its id", `${part("images[0][file_id]", "file-1")}--B--`],
  ["a mask by its id", `${part("mask.file_id", "file-1")}--B--`],
  ["a voice by its id", `${part("voice[id]", "voice_1")}--B--`],
])("%s is refused, and the text quotes nothing", (_name, body) => {
  expect(() => read(body)).toThrow(expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST }));
});

test("what fields are otherwise called names nothing", () => {
  for (const name of [
    "prompt",
    "voice",
    "image[]",
    "timestamp_granularities[]",
    "expires_after[anchor]",
    "file_name",
  ]) {
    expect(() => read(`${part(name, "x")}--B--`), name).not.toThrow();
  }
});

test("random bytes are refused or read, never anything else", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("--B", "\r\n", "--", 'Content-Disposition: form-data; name="a"', "x", "\r"), {
        maxLength: 20,
      }),
      (words) => {
        try {
          read(words.join(""));
        } catch (thrown) {
          expect(thrown).toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
        }
      },
    ),
  );
});

test.each([
  ["multipart/form-data; boundary=abc", "abc"],
  ['Multipart/Form-Data; charset=utf-8; boundary="a b"', "a b"],
  ["multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", "----WebKitFormBoundary7MA4YWxkTrZu0gW"],
  ["application/json", undefined],
])("the boundary of %s", (type, boundary) => {
  expect(boundaryOf(type)).toBe(boundary);
});

test.each([
  "multipart/form-data",
  "multipart/form-data; boundary=",
  `multipart/form-data; boundary=${"x".repeat(71)}`,
  "multipart/form-data; boundary=a; boundary=b",
  'multipart/form-data; boundary="a\u0001"',
  'multipart/form-data; boundary="a "',
])("%s has no valid boundary", (type) => {
  expect(() => boundaryOf(type)).toThrow(expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST }));
});
