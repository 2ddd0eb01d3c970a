import { spawn } from "node:child_process";

// Runs a program that knows nothing of us: `node tether.ts PROGRAM ARGUMENT...`. When the process that started this one
// is gone, however it ended, the program is asked to end too; it takes over this one's signals, output and exit code.
const [program = "", ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
const graceMs = 10_000;

function end(): void {
  child.kill("SIGTERM");
  setTimeout(() => child.kill("SIGKILL"), graceMs).unref();
}

process.on("disconnect", end);
process.on("SIGTERM", end);
process.on("SIGINT", end);
child.on("error", (error) => {
  console.error(`${program}: ${error.message}`);
  process.exit(127);
});
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGTERM" ? 0 : 1)));
