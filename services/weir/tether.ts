import { spawn } from "node:child_process";

// Runs a program that knows nothing of us: `node tether.ts SIGNAL USER PROGRAM ARGUMENT...`, where USER is `uid:gid` or `-`.
// When the process that started this one is gone, however it ended, or asks this one to end, the program gets the signal
// that makes it end well.
const [signal = "SIGTERM", user = "-", program = "", ...args] = process.argv.slice(2);
const [uid, gid] = user === "-" ? [] : user.split(":").map(Number);
const child = spawn(program, args, {
  // The program's user may not be able to enter our folder.
  cwd: "/",
  stdio: ["ignore", "inherit", "inherit"],
  ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
});
const graceMs = 10_000;
let ending = false;

function end(): void {
  if (ending) return;
  ending = true;
  child.kill(signal as NodeJS.Signals);
  setTimeout(() => child.kill("SIGKILL"), graceMs);
}

process.on("disconnect", end);
process.on("SIGTERM", end);
process.on("SIGINT", end);
child.on("error", (error) => {
  console.error(`${program}: ${error.message}`);
  process.exit(127);
});
child.on("exit", (code) => process.exit(ending ? 0 : (code ?? 1)));
