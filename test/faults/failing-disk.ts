import * as fs from "node:fs";
import type { JournalOptions } from "@weir/pool/journal/journal";

type Files = NonNullable<JournalOptions["files"]>;
type Done = (error: NodeJS.ErrnoException | null) => void;

/** A disk under a journal that fails as it is told. */
export interface FailingDisk {
  readonly files: Files;
  /** No byte more fits. */
  full: boolean;
  /** Syncs fail; what they should have synced stays readable, as in the page cache of a real machine. */
  syncFails: boolean;
  /** The process is dead: nothing that it does from now on reaches the disk. */
  dead: boolean;
  /**
   * Calls that change something until the process dies in the middle of one: a write has then written a part, any other
   * call has done nothing. Infinite by default.
   */
  callsLeft: number;
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code });
}

/** @param random how much a write that is cut off has written */
export function createFailingDisk(random: () => number): FailingDisk {
  const step = (): boolean => {
    if (!disk.dead && disk.callsLeft-- > 0) return false;
    const isLast = !disk.dead;
    disk.dead = true;
    return isLast;
  };
  const guarded =
    <Args extends unknown[], T>(call: (...args: Args) => T) =>
    (...args: Args): T => {
      step();
      if (disk.dead) throw systemError("EIO");
      return call(...args);
    };
  const writeSync = (fd: number, bytes: Buffer, offset: number, length: number): number => {
    const isLast = step();
    if (isLast) fs.writeSync(fd, bytes, offset, Math.floor(random() * length));
    if (disk.dead) throw systemError("EIO");
    if (disk.full) throw systemError("ENOSPC");
    return fs.writeSync(fd, bytes, offset, length);
  };
  const sync = (call: (fd: number, done: Done) => void) => (fd: number, done: Done) => {
    step();
    if (disk.dead || disk.syncFails) setImmediate(done, systemError("EIO"));
    else call(fd, done);
  };
  const disk: FailingDisk = {
    full: false,
    syncFails: false,
    dead: false,
    callsLeft: Number.POSITIVE_INFINITY,
    files: {
      openSync: guarded(fs.openSync),
      writeSync: writeSync as Files["writeSync"],
      ftruncateSync: guarded(fs.ftruncateSync),
      closeSync: fs.closeSync,
      renameSync: guarded(fs.renameSync),
      unlinkSync: guarded(fs.unlinkSync),
      fsyncSync: guarded(fs.fsyncSync),
      fdatasync: sync(fs.fdatasync) as Files["fdatasync"],
      fsync: sync(fs.fsync) as Files["fsync"],
    },
  };
  return disk;
}
