import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** CPU time and memory of processes, as the operating system counts them. Linux only. */
export interface Consumption {
  /** User and system time, in microseconds. */
  readonly cpuUs: number;
  /** Resident memory, in bytes. */
  readonly memoryBytes: number;
}

// USER_HZ is 100 on every Linux that Node runs on: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
const tickUs = 10_000;
const pageBytes = 4096;

/** Sums over processes, at this moment. */
export function consumption(pids: readonly number[]): Consumption {
  let cpuUs = 0;
  let memoryBytes = 0;
  for (const pid of new Set(pids)) {
    const stat = statOf(pid);
    if (stat === undefined) continue;
    cpuUs += (Number(stat[11]) + Number(stat[12])) * tickUs;
    memoryBytes += Number(stat[21]) * pageBytes;
  }
  return { cpuUs, memoryBytes };
}

/** Processes with their children, and theirs. */
export function withChildren(pids: readonly number[]): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = statOf(pid);
    if (stat !== undefined) parents.set(pid, Number(stat[1]));
  }
  const found = new Set(pids);
  for (let grown = true; grown; ) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grown = true;
      }
    }
  }
  return [...found];
}

/** The fields of /proc/PID/stat from the third on, counted from 0; undefined when the process is gone. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** A started process and the words that said it was ready. */
export interface Started {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly ready: RegExpExecArray;
  stop(): Promise<void>;
}

/** Starts a command and waits until its output matches. @throws with what it printed when it ends or takes too long. */
export async function start(
  command: readonly string[],
  ready: RegExp,
  options: { env?: Record<string, string>; cwd?: string; timeoutMs?: number } = {},
): Promise<Started> {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("an empty command");
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const match = await new Promise<RegExpExecArray>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${command.join(" ")} was not ready in time; it printed:\n${output}`)),
      options.timeoutMs ?? 60_000,
    );
    const read = (data: Buffer) => {
      if (output.length < 65_536) output += data.toString();
      const found = ready.exec(output);
      if (found !== null) {
        clearTimeout(timer);
        resolve(found);
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", reject);
    child.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`${command.join(" ")} ended with ${code}; it printed:\n${output}`));
    });
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${file} did not start`);
  return {
    process: child,
    pid,
    ready: match,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await gone;
      clearTimeout(timer);
    },
  };
}
