import { expect, test } from "vitest";
import { checkVectors, encodeVectors, expectationOf } from "./expectation.ts";

const own = [undefined, undefined];

test("one vector for each input, all of one length", () => {
  expect(checkVectors([[1], [2]], own)).toEqual([[1], [2]]);
  for (const vectors of [[], [[1]], [[1], [2], [3]], [[1], [2, 3]], [[1], undefined], [[1], "AAAA"]]) {
    expect(checkVectors(vectors, own)).toBeUndefined();
  }
});

test("each of the length that was asked for it, beside others of the model's own", () => {
  const mixed = [2, undefined, 2, undefined];
  expect(checkVectors([[1, 2], [1], [1, 2], [1]], mixed)).toBeDefined();
  expect(checkVectors([[1, 2], [1], [1], [1]], mixed)).toBeUndefined();
  expect(checkVectors([[1, 2], [1], [1, 2], [1, 2]], mixed)).toBeUndefined();
});

test("vectors in two encodings become those of the one that was asked for", () => {
  expect(encodeVectors([[1], "AACAPw=="], "float")).toEqual([[1], [1]]);
  expect(encodeVectors([[1], "AACAPw=="], "base64")).toEqual(["AACAPw==", "AACAPw=="]);
  expect(encodeVectors([[1], [1e300]], "base64")).toBeUndefined();
});

test("a request without an encoding wants numbers", () => {
  expect(expectationOf({ inputs: [{ content: "a", dimensions: 3 }, { content: "b" }], extensions: {} })).toEqual({
    dimensions: [3, undefined],
    encoding: "float",
  });
});
