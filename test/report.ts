/** What a run of tests came to. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  /** Skipped and to do. */
  readonly skipped: number;
  /** Files that failed without a failing test: they did not load, or a hook of theirs threw. */
  readonly brokenFiles: readonly string[];
}

interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/** Counts the tests of vitest's JSON report. A broken file counts as one failed test. */
export function countTests(report: JsonReport): TestCounts {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  const brokenFiles: string[] = [];
  for (const file of report.testResults) {
    let failedHere = 0;
    for (const { status } of file.assertionResults) {
      if (status === "passed") passed++;
      else if (status === "failed") failedHere++;
      else skipped++;
    }
    failed += failedHere;
    if (file.status === "failed" && failedHere === 0) {
      failed++;
      brokenFiles.push(file.name);
    }
  }
  return { passed, failed, skipped, brokenFiles };
}
