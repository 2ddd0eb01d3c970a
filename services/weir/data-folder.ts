import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OperatorError } from "./operator-error.ts";

/** What lies where in the data folder (`.weir/`, WEIR_DATA_DIR). All of it is for its owner only. */
export interface DataFolder {
  readonly path: string;
  readonly journal: string;
  readonly database: string;
  /** The first API key, text with a line break. */
  readonly key: string;
  readonly pepper: string;
  /** Where metering of a running gateway is called: `host:port` or `unix:/path`. */
  readonly meteringAddress: string;
}

export function dataFolder(path: string): DataFolder {
  return {
    path,
    journal: join(path, "journal"),
    database: join(path, "database"),
    key: join(path, "key"),
    pepper: join(path, "pepper"),
    meteringAddress: join(path, "metering.address"),
  };
}

/** Makes the data folder when it is absent, and closes it to others. @throws Error that names the fix */
export function createDataFolder(path: string): DataFolder {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new OperatorError(
      `the data folder ${path} cannot be made or is not yours (${code}); set WEIR_DATA_DIR to another one`,
      {
        cause: error,
      },
    );
  }
  return dataFolder(path);
}

/** The pepper of a data folder, made when absent. Two processes that start at once get the same one. */
export function readOrCreatePepper(folder: DataFolder): Buffer {
  if (!existsSync(folder.pepper)) {
    const draft = `${folder.pepper}.${randomBytes(6).toString("hex")}`;
    writeFileSync(draft, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flush: true });
    try {
      linkIfAbsent(draft, folder.pepper);
    } finally {
      rmSync(draft, { force: true });
    }
  }
  const pepper = readFileSync(folder.pepper, "utf8").trim();
  if (Buffer.byteLength(pepper) < 32) {
    throw new OperatorError(
      `${folder.pepper} holds no pepper; put the right one back: without it no API key is recognised`,
    );
  }
  return Buffer.from(pepper);
}

function linkIfAbsent(from: string, to: string): void {
  try {
    // A link appears with its content or not at all, and never in the place of another.
    linkSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

/** Replaces a small file of the data folder as a whole, readable for its owner only. */
export function writePrivateFile(path: string, text: string): void {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  writeFileSync(draft, text, { mode: 0o600, flush: true });
  renameSync(draft, path);
}

/** The text of a small file without its last line break; undefined when there is none. */
export function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Longest path that a socket can have on every system: 104 bytes with the final zero on macOS. */
const socketPathBytesMax = 100;
const socketNameBytesMax = 30;

/**
 * A folder for sockets that only its owner can enter: `run` in the data folder, or a short temporary one. Names of sockets
 * are at most 30 bytes and end in `-PID.sock`; those of processes that were killed are removed.
 */
export function createSocketFolder(folder: DataFolder): { readonly path: string; remove(): void } {
  const near = join(folder.path, "run");
  if (Buffer.byteLength(near) + 1 + socketNameBytesMax <= socketPathBytesMax) {
    mkdirSync(near, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(near))
      if (!isAlive(Number(/-(\d+)\.sock$/.exec(name)?.[1]))) rmSync(join(near, name));
    return { path: near, remove: () => {} };
  }
  const far = mkdtempSync(join(tmpdir(), "weir-"));
  return { path: far, remove: () => rmSync(far, { recursive: true, force: true }) };
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
