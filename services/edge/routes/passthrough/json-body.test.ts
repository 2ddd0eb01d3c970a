import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readJsonCall, readUser, resourcesIn, unitsOf, writtenAnew } from "./json-body.ts";

const read = (text: string) => readJsonCall(Buffer.from(text));

/** A body as it is sent when the target's model is named so. */
const sent = (text: string, name: string) =>
  read(text)
    .items.map((item) => (item === "model" ? JSON.stringify(name) : item.toString()))
    .join("");

test("the model is replaced, and not a byte beside it", () => {
  const text = ' {"prompt": "model", "model" : "my-\\u006dodel" ,"x":{"model":"inner"}, "n":1e0} ';
  expect(read(text).model).toBe("my-model");
  expect(sent(text, "real")).toBe(' {"prompt": "model", "model" : "real" ,"x":{"model":"inner"}, "n":1e0} ');
});

test("any body: what is sent is what came, but for the model; its length is told", () => {
  const members = fc.dictionary(
    fc.string().filter((name) => !["model", "__proto__"].includes(name)),
    fc.jsonValue(),
    { maxKeys: 4 },
  );
  fc.assert(
    fc.property(members, fc.string({ minLength: 1 }), fc.string(), (more, model, name) => {
      const body = read(JSON.stringify({ ...more, model }));
      const text = body.items.map((item) => (item === "model" ? JSON.stringify(name) : item.toString())).join("");
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify({ ...more, model: name })));
      expect(body.bytes).toBe(Buffer.byteLength(text) - Buffer.byteLength(JSON.stringify(name)));
    }),
    { numRuns: 300 },
  );
});

test.each([
  ["two models", '{"model":"a","model":"b"}', "model"],
  ["two models, one escaped", '{"model":"a","\\u006dodel":"b"}', "model"],
  ["a model that is no text", '{"model":{"a":1}}', "model"],
  ["no object", "[]", undefined],
  ["no JSON", '{"model":', undefined],
  ["a byte order mark", '\ufeff{"model":"a"}', undefined],
  ["depth without end", `{"a":${"[".repeat(500)}${"]".repeat(500)}}`, undefined],
])("%s is refused", (_name, text, param) => {
  const expected = { reason: ErrorReason.INVALID_REQUEST, ...(param === undefined ? {} : { metadata: { param } }) };
  expect(() => read(text)).toThrow(expect.objectContaining(expected));
});

describe("resources that a body names", () => {
  const named = (json: Record<string, unknown>) => resourcesIn(json).sort();

  test("are found under the members that name them, at any depth", () => {
    expect(
      named({
        input_file_id: "a",
        training_file: "b",
        validation_file: "c",
        file_ids: ["d", "e"],
        files: [{ file_id: "f", attributes: { file_id: "text" } }],
        hyperparameters: { x: 1 },
      }),
    ).toEqual(["a", "b", "c", "d", "e", "f"]);
  });

  test("are found by their look wherever they are, but not in the client's own words", () => {
    expect(named({ later: { anything: "file-abc123", more: ["vs_abc123", "batch_abc123"] } })).toEqual([
      "batch_abc123",
      "file-abc123",
      "vs_abc123",
    ]);
    expect(named({ metadata: { note: "file-abc123" }, query: "file-abc123", name: "file-abc123" })).toEqual([]);
  });

  test("are found in what models see only where a member says that it is one", () => {
    const json = { prompt: "file-abc123", images: [{ file_id: "file-def456" }], mask: { file_id: "file-ghi789" } };
    expect(resourcesIn(json, true)).toEqual(["file-def456", "file-ghi789"]);
  });

  test("are those that the provider reads, where a name stands twice", () => {
    const text =
      '{"model":"m","file_id":"file-other","files":[{"file_id":"file-other","file_id":"file-own"}],"file_id":"file-own"}';
    const written = writtenAnew(Buffer.from(text)).toString();
    expect(written).not.toContain("file-other");
    expect(resourcesIn(JSON.parse(written))).toEqual(["file-own"]);
  });
});

test.each([
  ["/audio/speech", '{"model":"m","input":"Grüezi 🌊"}', { characters: 8 }],
  ["/audio/speech", '{"model":"m"}', {}],
  ["/images/generations", '{"model":"m","n":3}', { images: 3 }],
  ["/images/generations", '{"model":"m","n":-3}', { images: 1 }],
  ["/images/edits", '{"model":"m"}', { images: 1 }],
  ["/rerank", '{"model":"m"}', {}],
])("%s of %s is billed by %o", (path, text, units) => {
  expect(unitsOf(path, read(text))).toEqual(units);
});

test("an end user goes into headers, and so has a length", () => {
  expect(readUser("u".repeat(256))).toBe("u".repeat(256));
  expect(readUser(7)).toBeUndefined();
  const expected = { reason: ErrorReason.INVALID_REQUEST, metadata: { param: "user" } };
  expect(() => readUser("u".repeat(257))).toThrow(expect.objectContaining(expected));
});
