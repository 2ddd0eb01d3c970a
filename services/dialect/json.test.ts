import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, rawJson, writeJson } from "./json.ts";

test.each([
  '{"a":12345678901234567890}',
  '{"a":[0.12345678901234567890,-1e400,1.0e-400]}',
  '{"a":{"b":9007199254740993}}',
])("a number that JavaScript cannot hold survives: %s", (text) => {
  expect(writeJson(parseExact(text))).toBe(text);
});

test("numbers that it can hold are numbers", () => {
  expect(parseExact('{"a":1.0,"b":1e3,"c":0.1,"d":12345678901234567890}')).toMatchObject({ a: 1, b: 1000, c: 0.1 });
});

test("raw JSON is written as it stands, wherever it is", () => {
  const value = {
    schema: rawJson('{ "b" : 1.0, "a": "$&" }'),
    list: [rawJson("[1 ,2]"), rawJson(" 1.50 ")],
    text: "x",
  };
  expect(writeJson(value)).toBe('{"schema":{ "b" : 1.0, "a": "$&" },"list":[[1 ,2],1.50],"text":"x"}');
});

test("what has no raw JSON is written as by JSON.stringify", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(writeJson(value)).toBe(JSON.stringify(value));
    }),
  );
});

test.each(["[]", "1", "null", "{", '"a"'])("%s is no object", (text) => {
  expect(parseExact(text)).toBeUndefined();
});
