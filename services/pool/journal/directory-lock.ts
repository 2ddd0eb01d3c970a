import { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { readFile, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";

/** Exclusive use of a directory by one process. */
export interface DirectoryLock {
  release(): void;
}

export const lockName = "lock";

/** How often the holder shows that it lives. */
const heartbeatMs = 3_000;
/** A holder on another host that was not seen for so long is dead; one on this host is asked for directly. */
const staleMs = 15_000;
const pollMs = 500;

/**
 * Takes a directory. A lock that a killed process left behind is taken over: at once when it was on this host, after 15 s
 * without a sign of life when it was on another.
 * @param lost called once if another process takes the directory although this one lives
 * @throws WeirError STORE_UNAVAILABLE when another process holds the directory
 */
export async function lockDirectory(directory: string, clock: Clock, lost: () => void): Promise<DirectoryLock> {
  const path = join(directory, lockName);
  const mine = `${JSON.stringify({ pid: process.pid, started: processStart(process.pid), host: hostname(), token: crypto.randomUUID() })}\n`;
  const giveUpAt = clock.monotonic() + staleMs + pollMs;
  for (;;) {
    const holder = tryLock(path, mine);
    if (holder === undefined) break;
    if (!holder.foreign || clock.monotonic() >= giveUpAt) throw heldBy(directory, holder);
    // Keeps the process alive, which a clock's timer does not.
    await setTimeout(pollMs);
  }
  let stop = (): void => {};
  let held = true;
  const beat = async () => {
    try {
      if ((await readFile(path, "utf8")) !== mine) {
        if (held) lost();
        return;
      }
      const now = new Date();
      await utimes(path, now, now);
    } catch (error) {
      if (held && (error as NodeJS.ErrnoException).code === "ENOENT") {
        lost();
        return;
      }
    }
    if (held) stop = clock.after(heartbeatMs, () => void beat());
  };
  stop = clock.after(heartbeatMs, () => void beat());
  return {
    release() {
      if (!held) return;
      held = false;
      stop();
      try {
        if (readFileSync(path, "utf8") === mine) unlinkSync(path);
      } catch {
        // Somebody else removed it.
      }
    },
  };
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly foreign: boolean;
  readonly ageMs: number;
}

/** Who uses a directory now, for people; undefined when nobody does. Takes nothing. */
export function holderOf(directory: string): string | undefined {
  const path = join(directory, lockName);
  try {
    const holder = livingHolder(readFileSync(path, "utf8"), Math.max(0, Date.now() - statSync(path).mtimeMs));
    return holder && describe(holder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Takes the lock; returns who holds it when that is not possible. */
function tryLock(path: string, mine: string): Holder | undefined {
  for (;;) {
    try {
      writeFileSync(path, mine, { flag: "wx", mode: 0o600 });
      return undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    let text: string;
    let ageMs: number;
    try {
      text = readFileSync(path, "utf8");
      ageMs = Math.max(0, Date.now() - statSync(path).mtimeMs);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    const holder = livingHolder(text, ageMs);
    if (holder) return holder;
    removeStale(path, text);
  }
}

function livingHolder(text: string, ageMs: number): Holder | undefined {
  let content: { pid?: unknown; started?: unknown; host?: unknown };
  try {
    content = JSON.parse(text) as typeof content;
  } catch {
    // Cut off while it was written: its writer died, or is about to finish.
    return ageMs < 1_000 ? { pid: 0, host: "", foreign: true, ageMs } : undefined;
  }
  const { pid, started, host } = content;
  if (typeof pid !== "number" || typeof host !== "string") return undefined;
  if (host !== hostname()) return ageMs < staleMs ? { pid, host, foreign: true, ageMs } : undefined;
  const start = processStart(pid);
  // Where starts cannot be told, a holder that shows no sign of life is another process under a dead one's id.
  const same = start === null || typeof started !== "string" ? ageMs < staleMs : start === started;
  const alive = isAlive(pid) && same;
  return alive ? { pid, host, foreign: false, ageMs } : undefined;
}

/** Removes a lock whose holder is dead, unless another process took it over meanwhile. */
function removeStale(path: string, text: string): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
    // Two processes may find the same dead holder. Who then moved a fresh lock puts it back.
    if (readFileSync(aside, "utf8") === text) unlinkSync(aside);
    else renameSync(aside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process started, as Linux tells it: boot and ticks since. Process ids are used again, these are not. */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name, in parentheses, may hold spaces. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()}/${ticks}`;
  } catch {
    return null;
  }
}

function heldBy(directory: string, holder: Holder): WeirError {
  return new WeirError(ErrorReason.STORE_UNAVAILABLE, {
    text: `The journal in ${directory} is used by ${describe(holder)}; stop it or choose another directory.`,
  });
}

function describe(holder: Holder): string {
  const where = holder.foreign ? ` on host ${holder.host}, seen ${Math.round(holder.ageMs / 1000)} s ago` : "";
  return `process ${holder.pid}${where}`;
}
