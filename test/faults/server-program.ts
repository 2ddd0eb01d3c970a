import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { basename } from "node:path";

const startMs = 30_000;
const pollMs = 10;

// However this process ends, the servers that it started end too.
const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/**
 * Starts a server that scenarios need, and waits until it answers.
 * @param answers whether somebody answers at its address
 * @throws Error with what it printed last, when it ends instead, or says nothing for half a minute
 */
export async function startProgram(
  program: string,
  args: readonly string[],
  answers: () => Promise<boolean>,
  options: SpawnOptions = {},
): Promise<ChildProcess> {
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let said = "";
  let ended: string | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (data: Buffer) => (said = `${said}${data.toString()}`.slice(-2000)));
  }
  child.once("error", (error) => (ended = error.message));
  child.once("exit", (code, signal) => {
    running.delete(child);
    ended = signal === null ? `exit code ${code}` : signal;
  });
  const deadline = performance.now() + startMs;
  while (!(await answers()) || ended !== undefined) {
    if (ended === undefined && performance.now() > deadline) ended = `no answer for ${startMs / 1000} s`;
    if (ended !== undefined) {
      child.kill("SIGKILL");
      throw new Error(`${basename(program)} did not start (${ended}), so nothing was tested; it said:\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return child;
}
