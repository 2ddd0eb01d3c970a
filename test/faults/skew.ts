import { readFileSync } from "node:fs";

// Loaded into a process before anything else (`node --import`): its clock goes wrong by as many milliseconds as the file
// says that WEIR_TEST_SKEW_FILE names. Only the wall clock: what measures spans does not step on a real machine either.

const file = process.env["WEIR_TEST_SKEW_FILE"];
const origin = performance.timeOrigin;
const now = Date.now;
let skewMs = 0;
if (file !== undefined) {
  setInterval(() => {
    skewMs = Number(readFileSync(file, "utf8"));
  }, 20).unref();
  Object.defineProperty(performance, "timeOrigin", { get: () => origin + skewMs });
  Date.now = () => now() + skewMs;
}
