import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import { sqlState } from "./database.ts";
import { openTestDatabase, type TestDatabase } from "./testing.ts";

interface Row {
  readonly text: string | null;
  readonly json: string | null;
  readonly id: string | null;
  readonly bytes: string | null;
  readonly flag: boolean | null;
  readonly small: number | null;
  readonly whole: number | null;
  readonly large: bigint | null;
  readonly timeUs: number | null;
}

const columns: readonly ArrayColumn<Row>[] = [
  { name: "a_text", type: "text", value: (row) => row.text },
  { name: "a_json", type: "jsonb", value: (row) => row.json },
  { name: "an_id", type: "uuid", value: (row) => row.id },
  { name: "some_bytes", type: "bytea", value: (row) => row.bytes },
  { name: "a_flag", type: "bool", value: (row) => row.flag },
  { name: "a_small", type: "int4", value: (row) => row.small },
  { name: "a_whole", type: "int8", value: (row) => row.whole },
  { name: "a_large", type: "int8", value: (row) => row.large },
  { name: "a_time", type: "timestamptz", value: (row) => row.timeUs },
];

const textOf = (value: number | bigint | null) => (value === null ? null : String(value));

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
  });
  afterAll(() => db.end());

  const there = (rows: readonly Row[]) =>
    db.query(
      `select a_text, a_json #>> '{}' as a_json, an_id, encode(some_bytes, 'hex') as some_bytes, a_flag, a_small,
         a_whole, a_large, (extract(epoch from a_time) * 1000000)::int8 as a_time
       from ${unnested(columns, "t")}`,
      arrayParameters(columns, rows),
    );

  test("property: rows arrive as they left, in their order", async () => {
    const text = fc.string({ unit: "binary", maxLength: 40 }).map((value) => value.replaceAll("\0", ""));
    const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
    const row: fc.Arbitrary<Row> = fc.record({
      text: maybe(text),
      json: maybe(text.map((value) => JSON.stringify(value))),
      id: maybe(fc.uuid()),
      bytes: maybe(fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value).toString("hex"))),
      flag: maybe(fc.boolean()),
      small: maybe(fc.integer()),
      whole: maybe(fc.maxSafeInteger()),
      large: maybe(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
      timeUs: maybe(fc.integer({ min: Date.UTC(1900, 0) * 1000, max: Date.UTC(2200, 0) * 1000 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 30 }), async (rows) => {
        // Nothing says that there are rows of nulls at the end. Every table has a key, which no row is without.
        const keyed = rows.map((one) => ({ ...one, flag: one.flag ?? false }));
        expect(await there(keyed)).toEqual(
          keyed.map((one) => ({
            a_text: one.text,
            a_json: one.json === null ? null : (JSON.parse(one.json) as string),
            an_id: one.id,
            some_bytes: one.bytes,
            a_flag: one.flag,
            a_small: one.small,
            a_whole: textOf(one.whole),
            a_large: textOf(one.large),
            a_time: textOf(one.timeUs),
          })),
        );
      }),
      { numRuns: 100 },
    );
  });

  test("hexadecimal digits may be upper case", async () => {
    const id = "ABCDEF01-2345-7890-89ab-CDEF01234567";
    const [row] = await there([{ ...nothing, id, bytes: "00fFA9" }]);
    expect(row).toMatchObject({ an_id: id.toLowerCase(), some_bytes: "00ffa9" });
  });

  test("what Postgres cannot hold is refused by Postgres", async () => {
    expect(await there([{ ...nothing, text: "a\0b" }]).catch(sqlState)).toBe("22021");
    expect(await there([{ ...nothing, json: "{" }]).catch(sqlState)).toBe("22P02");
  });
});

test("a number that is no integer is refused", () => {
  for (const whole of [1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    expect(() => arrayParameters(columns, [{ ...nothing, whole }])).toThrow("a_whole is no integer");
  }
  expect(() => arrayParameters(columns, [{ ...nothing, large: 2n ** 63n }])).toThrow(RangeError);
});

test("a column of nulls travels as null", () => {
  expect(arrayParameters(columns, [nothing, { ...nothing, small: 1 }]).map((array) => array === null)).toEqual(
    columns.map((column) => column.name !== "a_small"),
  );
});

const nothing: Row = {
  text: null,
  json: null,
  id: null,
  bytes: null,
  flag: null,
  small: null,
  whole: null,
  large: null,
  timeUs: null,
};
