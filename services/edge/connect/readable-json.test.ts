import { parseJson } from "@weir/dialect/parse-json";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readableJson, readableQuery } from "./readable-json.ts";

/** Names that are prefixes of others as they are written, and that need no escape. */
const name = fc.string({ unit: fc.constantFrom("u", "0", "6", "d", "m", "é", ":", "_"), maxLength: 6 });
const value = fc.oneof(fc.string(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant([{ a: '":\\' }]));

/** An object with some characters of its names escaped, and what it says. */
const written = fc
  .array(fc.tuple(name, fc.array(fc.boolean(), { maxLength: 6 }), value), { maxLength: 4 })
  .map((members) => {
    const coded = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    const nameOf = (text: string, escapes: readonly boolean[]) =>
      [...text].map((unit, index) => (escapes[index] === true ? coded(unit) : unit)).join("");
    return `{${members.map(([text, escapes, said]) => `"${nameOf(text, escapes)}": ${JSON.stringify(said)}`).join(",")}}`;
  });

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);

test("what JSON.parse reads of it is what it says, however its names are escaped and whatever was read before", () => {
  fc.assert(
    fc.property(written, (text) => {
      expect(JSON.parse(readableJson(Buffer.from(text)).toString())).toEqual(parseJson(text));
    }),
    { numRuns },
  );
});

test("the message of a query says the same, in base 64 as well", () => {
  fc.assert(
    fc.property(written, fc.boolean(), (text, packed) => {
      const message = packed ? Buffer.from(text).toString("base64url") : text;
      const sent = new URLSearchParams({ connect: "v1", encoding: "json", message, ...(packed && { base64: "1" }) });
      const query = new URLSearchParams(readableQuery(`?${sent.toString()}`));
      const got = query.get("message") ?? "";
      const json = query.get("base64") === "1" ? Buffer.from(got, "base64url").toString() : got;
      expect(JSON.parse(json)).toEqual(parseJson(text));
      expect(query.get("connect")).toBe("v1");
    }),
    { numRuns },
  );
});

test("a name that cannot do without an escape is refused", () => {
  for (const text of ['{"a\\"b":1}', '{"metadata":{"\\\\":1}}', '{"\\n":1}', '{"\\ud800":1}']) {
    expect(() => readableJson(Buffer.from(text))).toThrow("A name of a member holds");
  }
});

test("what has no escape in a name, or is no JSON, stays as it is", () => {
  for (const text of ["{}", '{"a":"\\n"}', '{"a:\\', '"\\x":', "?message=%5C&encoding=proto"]) {
    const bytes = Buffer.from(text);
    expect(readableJson(bytes)).toBe(bytes);
    expect(readableQuery(text)).toBe(text);
  }
});
