import { defineConfig } from "vitest/config";

const exclude = ["**/node_modules/**", "**/.weir/**"];

export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["{services,tools,bench,test}/**/*.test.ts"],
          exclude: [...exclude, "test/e2e/**", "test/faults/**"],
          testTimeout: 20_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          // These start whole gateways and measure time, so nothing else runs beside them.
          name: "whole",
          include: ["test/{e2e,faults}/**/*.test.ts"],
          exclude,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
