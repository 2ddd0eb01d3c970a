import { expect, test } from "vitest";
import { createAttemptIds } from "./attempt-id.ts";

test("ids are UUIDs of version 7, each once, in rising order", () => {
  const next = createAttemptIds();
  const ids = Array.from({ length: 5_000 }, next);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.toSorted()).toEqual(ids);
  expect(Math.abs(Number.parseInt((ids[0] ?? "").replaceAll("-", "").slice(0, 12), 16) - Date.now())).toBeLessThan(
    60_000,
  );
});
