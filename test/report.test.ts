import { expect, test } from "vitest";
import { countTests } from "./report.ts";

test("counts tests, and a file that broke as one that failed", () => {
  const results = (...statuses: string[]) => statuses.map((status) => ({ status }));
  const report = {
    testResults: [
      { name: "a", status: "passed", assertionResults: results("passed", "skipped", "passed", "todo") },
      { name: "b", status: "failed", assertionResults: results("passed", "failed") },
      { name: "c", status: "failed", assertionResults: [] },
    ],
  };
  expect(countTests(report)).toEqual({ passed: 3, failed: 2, skipped: 2, brokenFiles: ["c"] });
});
