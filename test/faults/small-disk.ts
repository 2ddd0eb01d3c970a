import { execFileSync, spawnSync } from "node:child_process";
import { statfsSync } from "node:fs";

/** A file system of its own, which can be full while no other is. */
export interface SmallDisk {
  /** From now on no byte more fits, however much room there was. */
  fill(): void;
  /** There is room again. */
  free(): void;
  unmount(): void;
}

/** Others write while it fills: what was measured as used may be too little a moment later. */
const fillAttemptsMax = 1_000;

/**
 * Mounts a tmpfs, which takes memory only for what is written to it.
 * @param path an empty folder
 * @param bytes its size while it is not full
 * @returns undefined where that is not allowed: only root can
 */
export function mountSmallDisk(path: string, bytes: number): SmallDisk | undefined {
  const resize = (size: number) => mount("-o", `remount,size=${size}`, path);
  try {
    mount("-t", "tmpfs", "-o", `size=${bytes},mode=777`, "tmpfs", path);
  } catch {
    return undefined;
  }
  // Also when the tests are cut off: who uses it may live a moment longer, so the mount goes when nobody does.
  const unmount = () => void spawnSync("umount", ["--lazy", path], { stdio: "ignore" });
  process.once("exit", unmount);
  return {
    fill() {
      for (let attempt = 1; ; attempt++) {
        const { blocks, bfree, bsize } = statfsSync(path);
        try {
          resize((blocks - bfree) * bsize);
          return;
        } catch (error) {
          if (attempt === fillAttemptsMax) throw error;
        }
      }
    },
    free: () => resize(bytes),
    unmount() {
      process.off("exit", unmount);
      unmount();
    },
  };
}

function mount(...args: readonly string[]): void {
  execFileSync("mount", args, { stdio: "pipe" });
}
