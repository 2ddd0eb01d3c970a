import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeVector, vectorLength } from "./vector.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);
const floats = fc.float32Array({ minLength: 1, maxLength: 40, noNaN: true, noDefaultInfinity: true });
const doubles = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 40 });
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");

test("base64 is that of 32-bit floats with the lowest byte first", () => {
  // https://www.rfc-editor.org/rfc/rfc4648#section-4 of 00 00 80 3f, 00 00 00 c0
  expect(encodeVector([1, -2], "base64")).toBe("AACAPwAAAMA=");
  expect(encodeVector("AACAPwAAAMA=", "float")).toEqual([1, -2]);
});

test("floats survive the way to base64 and back without a changed bit", () => {
  fc.assert(
    fc.property(floats, (vector) => {
      const bytes = base64(new Uint8Array(vector.buffer));
      const numbers = encodeVector(bytes, "float");
      expect(numbers).toEqual([...vector]);
      expect(encodeVector(numbers ?? [], "base64")).toBe(bytes);
      expect(vectorLength(bytes)).toBe(vector.length);
    }),
    { numRuns },
  );
});

test("numbers of base64 survive JSON, but for the sign of zero", () => {
  fc.assert(
    fc.property(floats, (vector) => {
      const bytes = base64(new Uint8Array(vector.map((number) => number + 0).buffer));
      const numbers = JSON.parse(JSON.stringify(encodeVector(bytes, "float"))) as number[];
      expect(encodeVector(numbers, "base64")).toBe(bytes);
    }),
    { numRuns },
  );
});

test("doubles are rounded to the nearest float, or refused beyond the largest", () => {
  fc.assert(
    fc.property(doubles, (vector) => {
      const bytes = encodeVector(vector, "base64");
      const rounded = vector.map(Math.fround);
      if (rounded.every(Number.isFinite)) expect(encodeVector(bytes ?? "", "float")).toEqual(rounded);
      else expect(bytes).toBeUndefined();
    }),
    { numRuns },
  );
});

test("what has the encoding that is asked for stays as it is", () => {
  const vector = [0.1, 1e300];
  expect(encodeVector(vector, "float")).toBe(vector);
  expect(encodeVector("AACAPw==", "base64")).toBe("AACAPw==");
});

test.each([
  undefined,
  null,
  1,
  {},
  [],
  [[1]],
  ["1"],
  [null],
  [Number.NaN],
  [Infinity],
  "",
  "AAAA",
  "AACAPw",
  "AACAP===",
  "AACA Pw==",
  "AACAPw==AACAPw==",
  "____",
  "AADAfw==",
  "AACAfw==",
])("%j is no vector", (value) => {
  expect(vectorLength(value)).toBeUndefined();
  if (typeof value === "string") expect(encodeVector(value, "float")).toBeUndefined();
});
