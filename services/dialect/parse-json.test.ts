import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, parseObject } from "./json.ts";
import { parseJson } from "./parse-json.ts";

test("no name is taken for one that an earlier text had in its place", () => {
  for (const [first, second, name] of [
    ['{"x":1,"\\\\u006":2}', '{"x":1,"\\u006dodel":2}', "model"],
    ['{"y":1,"ma\\\\u0078_":2}', '{"y":1,"ma\\u0078_tokens":2}', "max_tokens"],
    ['{"z":1,"\\\\":2}', '{"z":1,"\\"":2}', '"'],
    ['{"z":1,"\\\\":2}', '{"z":1,"\\n" :2}', "\n"],
    ['{"z":1,"\\\\":2}', '{"z":1,"\\u005f"\r\n\t:2}', "_"],
  ] as const) {
    for (const parse of [parseJson, parseObject, parseExact]) {
      parse(first);
      expect(Object.keys(parse(second) as object)[1]).toBe(name);
    }
  }
});

/** Texts of few characters, so that names are prefixes of others as they are written. */
const name = fc.string({
  unit: fc.constantFrom("\\", '"', "\n", "u", "0", "6", "d", "m", "é", "\u0000", "\ud800", ":"),
  maxLength: 6,
});

/** A string as JSON may have it, with any of its characters escaped. */
function written(text: string, escapes: readonly boolean[]): string {
  const plain = (unit: string) => JSON.stringify(unit).slice(1, -1);
  const coded = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `"${[...text].map((unit, index) => (escapes[index] === true && unit.length === 1 ? coded(unit) : plain(unit))).join("")}"`;
}

test("any object is read as it is written, whatever was read before and however its names are escaped", () => {
  const member = fc.tuple(
    name,
    fc.array(fc.boolean(), { maxLength: 6 }),
    fc.oneof(name, fc.constant([{ "\\": '":' }])),
  );
  fc.assert(
    fc.property(fc.array(member, { maxLength: 4 }), (members) => {
      const text = `{${members.map(([text, escapes, value]) => `${written(text, escapes)} : ${JSON.stringify(value)}`).join(",")}}`;
      const expected = new Map(members.map(([text, , value]) => [text.toWellFormed(), value]));
      const read = Object.entries(parseJson(text) as object).map(
        ([key, value]) => [key.toWellFormed(), value] as const,
      );
      expect(new Map(read)).toEqual(expected);
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("what is no JSON is none, and the fault says where: also of texts with backslashes where none may be", () => {
  const piece = fc.constantFrom(
    '"',
    "\\",
    "\\n",
    '\\"',
    "a",
    ":",
    "{",
    "}",
    ",",
    "1",
    "[",
    "]",
    " ",
    '"a"',
    '"\\u0061"',
  );
  const attempt = (parse: (text: string) => unknown, text: string) => {
    try {
      return ["json", JSON.stringify(parse(text))];
    } catch (thrown) {
      return ["fault", String(thrown)];
    }
  };
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
      (text) => {
        const [kind, told] = attempt(parseJson, text);
        const [kindOfNode, toldByNode] = attempt(JSON.parse, text);
        expect(kind).toBe(kindOfNode);
        if (kind === "fault") expect(told).toBe(toldByNode);
      },
    ),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("a member named __proto__ stays a member, and of two of one name the last one counts", () => {
  const json = parseJson('{"__proto__":{"a":1},"\\u006d":1,"m":2,"n":1,"\\u006e":2}') as Record<string, unknown>;
  expect(Object.entries(json)).toEqual([
    ["__proto__", { a: 1 }],
    ["m", 2],
    ["n", 2],
  ]);
});

/** Texts that no client and no provider has written: their own processes', operators' files, a single string. */
const trusted: ReadonlySet<string> = new Set([
  "dialect/json-scan.ts",
  "dialect/parse-json.ts",
  "edge/files/member-scan.ts",
  "edge/transcode/json.ts",
  "pool/journal/directory-lock.ts",
]);

test("nothing else in the edge, the router, the pool and the dialects parses JSON by itself", () => {
  const services = join(import.meta.dirname, "..");
  const found = ["dialect", "edge", "pool", "router"].flatMap((service) =>
    readdirSync(join(services, service), { recursive: true, encoding: "utf8" })
      .map((file) => `${service}/${file}`)
      .filter((file) => /(?<!\.test|\.bench)\.ts$/.test(file) && !/testing/.test(file))
      .filter((file) => /\bJSON\.parse\(/.test(readFileSync(join(services, file), "utf8"))),
  );
  expect(found.toSorted()).toEqual([...trusted].toSorted());
});
