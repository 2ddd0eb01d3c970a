import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const exclude = ["**/node_modules/**", "**/.weir/**"];
/** Whole gateways, of which these measure how long something takes. */
const measured = ["test/e2e/{loopback,one-process,processes}.test.ts", "test/faults/backlog.test.ts"];

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
          // A test that hangs; what must be quick says so itself.
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // By default one less than there are cores: on two, nothing would run while a test waits.
          maxWorkers: Math.max(2, availableParallelism()),
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          // These start whole gateways, and wait most of the time for processes that begin.
          name: "gateways",
          include: ["test/{e2e,faults}/**/*.test.ts"],
          exclude: [...exclude, ...measured],
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          // Nothing else runs beside these.
          name: "measured",
          include: measured,
          exclude,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
