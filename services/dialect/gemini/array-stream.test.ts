import fc from "fast-check";
import { expect, test } from "vitest";
import { createArrayStream } from "./array-stream.ts";

const runs = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const sse = (...items: readonly unknown[]) => items.map((item) => `data: ${JSON.stringify(item)}\r\n\r\n`).join("");

test("items are set apart as Google sets them apart", () => {
  const array = createArrayStream();
  expect(array.push(Buffer.from(sse({ a: 1 }, { b: 2 })))).toBe('[{"a":1}\n,\r\n{"b":2}');
  expect(array.push(Buffer.from(sse({ c: 3 })))).toBe('\n,\r\n{"c":3}');
  expect(array.end()).toBe("]");
});

test("law: whatever the cuts, and with or without a beginning ahead of the first item, the array holds every item", () => {
  const items = fc.array(fc.record({ text: fc.string({ unit: "grapheme" }), n: fc.integer() }), { maxLength: 8 });
  fc.assert(
    fc.property(items, fc.array(fc.nat(400), { maxLength: 12 }), fc.boolean(), (list, cuts, opens) => {
      const bytes = Buffer.from(`: comment\n\n${sse(...list)}`);
      const array = createArrayStream();
      let text = opens ? array.open() : "";
      let at = 0;
      for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
        text += array.push(bytes.subarray(at, cut));
        at = Math.min(cut, bytes.length);
      }
      text += array.end() ?? "never";
      expect(text.startsWith("[")).toBe(true);
      expect(JSON.parse(text)).toEqual(list);
    }),
    { numRuns: runs },
  );
});

test.each([
  ["before the array began", (_array: ReturnType<typeof createArrayStream>) => "", []],
  ["after its beginning", (array: ReturnType<typeof createArrayStream>) => array.open(), []],
  ["after items", (array: ReturnType<typeof createArrayStream>) => array.push(Buffer.from(sse({ a: 1 }))), [{ a: 1 }]],
])("a failure %s is the last item", (_, begin, items) => {
  const array = createArrayStream();
  const text = begin(array) + array.fail('{"error":{"code":503}}');
  expect(JSON.parse(text)).toEqual([...items, { error: { code: 503 } }]);
});

test("bytes that stop inside an event are no end", () => {
  const array = createArrayStream();
  array.push(Buffer.from('data: {"a":'));
  expect(array.end()).toBeUndefined();
});

test("an event that only lacks its blank line is whole", () => {
  const array = createArrayStream();
  array.push(Buffer.from('data: {"a":1}'));
  expect(array.end()).toBe('[{"a":1}]');
});

test("an event without end is kept to a bound", () => {
  const array = createArrayStream();
  const part = Buffer.from(`data: ${"x".repeat(1024 * 1024)}`);
  for (let n = 0; n < 10; n += 1) array.push(part);
  expect(array.end()).toBeUndefined();
});
