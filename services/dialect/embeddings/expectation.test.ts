import { expect, test } from "vitest";
import { expectationOf, meetExpectation } from "./expectation.ts";

const own = { dimensions: [undefined, undefined], encoding: "float" } as const;

test("one vector for each input, all of one length", () => {
  expect(meetExpectation([[1], [2]], own)).toEqual([[1], [2]]);
  for (const vectors of [[], [[1]], [[1], [2], [3]], [[1], [2, 3]], [[1], undefined], [[1], "AAAA"]]) {
    expect(meetExpectation(vectors, own)).toBeUndefined();
  }
});

test("each of the length that was asked for it, beside others of the model's own", () => {
  const mixed = { dimensions: [2, undefined, 2, undefined], encoding: "float" } as const;
  expect(meetExpectation([[1, 2], [1], [1, 2], [1]], mixed)).toBeDefined();
  expect(meetExpectation([[1, 2], [1], [1], [1]], mixed)).toBeUndefined();
  expect(meetExpectation([[1, 2], [1], [1, 2], [1, 2]], mixed)).toBeUndefined();
});

test("vectors in two encodings become those of the one that was asked for", () => {
  expect(meetExpectation([[1], "AACAPw=="], own)).toEqual([[1], [1]]);
  expect(meetExpectation([[1], "AACAPw=="], { ...own, encoding: "base64" })).toEqual(["AACAPw==", "AACAPw=="]);
});

test("a request without an encoding wants numbers", () => {
  expect(expectationOf({ inputs: [{ content: "a", dimensions: 3 }, { content: "b" }], extensions: {} })).toEqual({
    dimensions: [3, undefined],
    encoding: "float",
  });
});
