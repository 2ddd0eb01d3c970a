import fc from "fast-check";
import { expect, test } from "vitest";
import { type JsonObject, parseExact, writeJson } from "../json.ts";
import { readResponse, writeResponse } from "./tool-result.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);

test.each<[string, object, object]>([
  ["an output", { output: "a" }, { text: "a", failed: false }],
  ["an error", { error: "a" }, { text: "a", failed: true }],
  ["an error with parts", { error: { code: 5 } }, { text: '{"code":5}', failed: true }],
  ["an output with parts", { output: { a: 1 } }, { text: '{"output":{"a":1}}', failed: false }],
  ["an output among others", { output: "a", more: 1 }, { text: '{"output":"a","more":1}', failed: false }],
  ["an error that is none", { error: null }, { text: '{"error":null}', failed: false }],
  ["anything", { result: [1] }, { text: '{"result":[1]}', failed: false }],
  ["nothing", {}, { text: undefined, failed: false }],
])("%s", (_, response, result) => {
  expect(readResponse(response as JsonObject)).toEqual(result);
});

const objects = fc.dictionary(fc.constantFrom("output", "error", "a"), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 2 });

test("any text survives, whatever JSON it is", () => {
  const text = fc.oneof(
    fc.string(),
    objects.map((value) => JSON.stringify(value)),
    fc.constantFrom('{ "a": 1 }', '{"a":12345678901234567890}', "[1,2]", '{"a":', "{}", '{"output":"{}"}'),
  );
  fc.assert(
    fc.property(text, fc.boolean(), (value, failed) => {
      const response = parseExact(writeJson(writeResponse({ text: value, failed })));
      expect(response && readResponse(response)).toEqual({ text: value, failed });
    }),
    { numRuns },
  );
});

test("any response survives", () => {
  fc.assert(
    fc.property(objects, (value) => {
      const response = JSON.parse(JSON.stringify(value)) as JsonObject;
      expect(JSON.parse(writeJson(writeResponse(readResponse(response))))).toEqual(response);
    }),
    { numRuns },
  );
});
