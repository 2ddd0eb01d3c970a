import { expect, test } from "vitest";
import { nearestName } from "./nearest.ts";

test("finds the name that was meant", () => {
  const known = ["providers", "prices", "router", "base_url"];
  expect(nearestName("provider", known)).toBe("providers");
  expect(nearestName("pirces", known)).toBe("prices");
  expect(nearestName("baseURL", known)).toBe("base_url");
  expect(nearestName("journal", known)).toBeUndefined();
  expect(nearestName("", known)).toBeUndefined();
  expect(nearestName("x".repeat(1000), known)).toBeUndefined();
});
