import { expect, test } from "vitest";
import { parseMoment } from "./range.ts";

test("reads days, times and spans", () => {
  const now = Date.UTC(2026, 10, 21, 12);
  expect(parseMoment("2026-11-20", now)).toBe(Date.UTC(2026, 10, 20));
  expect(parseMoment("2026-11-20T10:00:00+01:00", now)).toBe(Date.UTC(2026, 10, 20, 9));
  expect(parseMoment("2028-02-29", now)).toBe(Date.UTC(2028, 1, 29));
  expect(parseMoment("1970-01-01", now)).toBe(0);
  expect(parseMoment("24h", now)).toBe(Date.UTC(2026, 10, 20, 12));
  expect(parseMoment("2w", now)).toBe(Date.UTC(2026, 10, 7, 12));
  for (const text of ["", "yesterday", "2026-13-01", "2026-02-29", "2026-02-31T10:00Z", "1y", "10:00"])
    expect(parseMoment(text, now)).toBeUndefined();
});
