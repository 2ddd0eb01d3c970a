import { expect, test } from "vitest";
import { traitsOf } from "./traits.ts";

test.each<[string, boolean]>([
  ["gemini-3-pro-preview", true],
  ["models/gemini-3.1-flash-lite", true],
  ["gemini-flash-latest", true],
  ["projects/p/locations/l/endpoints/5", true],
  ["gemini-2.5-pro", false],
  ["publishers/google/models/gemini-2.0-flash-001", false],
  ["gemini-1.5-flash", false],
  ["gemini-pro", false],
  ["gemma-3-27b-it", false],
])("%s: of Gemini 3 or later is %s", (model, isModern) => {
  expect(traitsOf(model)).toEqual({ isModern });
});
