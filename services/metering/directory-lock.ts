import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Takes a directory for this process: writes `weir.lock` with the process id. The lock of a process that has ended is
 * taken over. The operating system may give its id to another process; on Linux the start time tells the two apart.
 * @returns gives the directory back
 * @throws Error that names the process which holds the directory
 */
export function lockDirectory(directory: string): () => void {
  const path = join(directory, "weir.lock");
  const mine = `${process.pid} ${startOf(process.pid) ?? "-"} ${Math.random().toString(36).slice(2)}\n`;
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, mine);
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        // A link appears with its content or not at all.
        linkSync(draft, path);
        return () => {
          if (read(path) === mine) rmSync(path, { force: true });
        };
      } catch (thrown) {
        if (!isError(thrown, "EEXIST")) throw thrown;
      }
      const held = read(path);
      if (held === undefined) continue;
      if (isAlive(held)) {
        throw new Error(
          `${directory} is in use by process ${held.split(" ")[0]}; stop it, or choose another directory`,
        );
      }
      // Two processes may get here at once: whoever moves a live lock away puts it back.
      const moved = `${draft}.stale`;
      try {
        renameSync(path, moved);
      } catch (thrown) {
        if (isError(thrown, "ENOENT")) continue;
        throw thrown;
      }
      if (read(moved) !== held) linkSync(moved, path);
      rmSync(moved, { force: true });
    }
    throw new Error(`${directory} cannot be locked: another process keeps taking ${path}`);
  } finally {
    rmSync(draft, { force: true });
  }
}

function isAlive(lock: string): boolean {
  const [pidText = "", start = "-"] = lock.trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    return isError(thrown, "EPERM");
  }
  const startNow = startOf(pid);
  return start === "-" || startNow === undefined || start === startNow;
}

/** When a process began: boot id and clock ticks since boot; undefined where the system does not say. */
function startOf(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`);
  const boot = read("/proc/sys/kernel/random/boot_id");
  // The name of the program stands in parentheses and may hold spaces: fields are counted behind it.
  const ticks = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return ticks === undefined || boot === undefined ? undefined : `${boot.trim()}:${ticks}`;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    if (isError(thrown, "ENOENT") || isError(thrown, "ESRCH")) return undefined;
    throw thrown;
  }
}

function isError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}
