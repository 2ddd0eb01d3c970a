import { create } from "@bufbuild/protobuf";
import { CostRowSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { expect, test } from "vitest";
import { renderUsage, totalOf, usageJson } from "./usage-report.ts";

const rows = [
  create(CostRowSchema, {
    day: "2026-11-20",
    model: "large",
    requestCount: 2n,
    attemptCount: 3n,
    costNanoUsd: 1_250_000n,
    unpricedCount: 1n,
  }),
  create(CostRowSchema, { day: "2026-11-19", model: "small", requestCount: 1n, attemptCount: 1n, costNanoUsd: 1n }),
];
const dimensions = [
  { name: "day", text: (row: (typeof rows)[number]) => row.day },
  { name: "model", text: (row: (typeof rows)[number]) => row.model },
];

test("a table ends with the total", () => {
  expect(renderUsage(rows, totalOf(rows), dimensions).split("\n")).toEqual([
    "day         model  requests  attempts  input  output     cost USD  charge USD  estimated  unpriced",
    "2026-11-20  large         2         3      0       0      0.00125        0.00          0         1",
    "2026-11-19  small         1         1      0       0  0.000000001        0.00          0         0",
    "total                     3         4      0       0  0.001250001        0.00          0         1",
    "",
  ]);
});

test("the total is of all that was asked for, not of the rows that are shown", () => {
  const lines = renderUsage(rows.slice(0, 1), totalOf(rows), dimensions).trimEnd().split("\n");
  expect(lines).toHaveLength(3);
  expect(lines[2]).toMatch(/^total +3 +4 /);
});

test("JSON has rows and total, amounts as text", () => {
  expect(JSON.parse(usageJson(rows, totalOf(rows)))).toMatchObject({
    rows: [{ day: "2026-11-20", costNanoUsd: "1250000" }, { day: "2026-11-19" }],
    total: { attemptCount: "4", costNanoUsd: "1250001" },
  });
});
