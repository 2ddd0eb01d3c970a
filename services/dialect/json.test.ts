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

test("numbers in texts stay texts, and a member may have any name", () => {
  const text =
    '{"__proto__":{"x":12345678901234567890},"a":"12345678901234567890 \\\\\\" 1e999","b":[[1e999],"\\u0022"]}';
  expect(writeJson(parseExact(text))).toBe(text.replace("\\u0022", '\\"'));
});

test("what is no JSON stays none, long numbers or not", () => {
  for (const text of ['{"a":12345678901234567890', '{"a":1234567890.1234567.1}', '{"a":01234567890123456789}']) {
    expect(parseExact(text)).toBeUndefined();
  }
});

test("any JSON with long numbers survives", () => {
  const number = fc.tuple(fc.bigInt({ min: 10n ** 15n, max: 10n ** 40n }), fc.nat(400)).map(([n, e]) => `${n}e${e}`);
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.string(),
          fc.oneof(
            number,
            fc.jsonValue().map((v) => JSON.stringify(v)),
          ),
        ),
        {
          maxLength: 8,
        },
      ),
      (members) => {
        const unique = new Map(members.filter(([name]) => !/^\d/.test(name)));
        const text = `{${[...unique].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
        expect(writeJson(parseExact(text))).toBe(text);
      },
    ),
  );
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
