import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  createDataFolder,
  createSocketFolder,
  readOrCreatePepper,
  readTextFile,
  writePrivateFile,
} from "./data-folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-data-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const modeOf = (path: string) => statSync(path).mode & 0o777;

test("the folder and its secrets are for their owner only", () => {
  mkdirSync(join(folder, "open"), { mode: 0o755 });
  const data = createDataFolder(join(folder, "open"));
  expect(modeOf(data.path)).toBe(0o700);
  readOrCreatePepper(data);
  writePrivateFile(data.key, "text\n");
  expect(modeOf(data.pepper)).toBe(0o600);
  expect(modeOf(data.key)).toBe(0o600);
  expect(readTextFile(data.key)).toBe("text");
  expect(readTextFile(join(data.path, "none"))).toBeUndefined();
});

test("the pepper is made once, and a damaged one is not replaced", () => {
  const data = createDataFolder(folder);
  const pepper = readOrCreatePepper(data);
  expect(pepper.length).toBe(64);
  expect(readOrCreatePepper(data)).toEqual(pepper);
  writeFileSync(data.pepper, "short");
  expect(() => readOrCreatePepper(data)).toThrow("put the right one back");
});

test("a folder that cannot be made is told with the fix", () => {
  writeFileSync(join(folder, "file"), "");
  expect(() => createDataFolder(join(folder, "file", "data"))).toThrow("set WEIR_DATA_DIR");
});

test("sockets lie in the data folder, or where their paths are short enough", () => {
  const data = createDataFolder(folder);
  const near = createSocketFolder(data);
  expect(near.path).toBe(join(folder, "run"));
  writeFileSync(join(near.path, "metering-999999999.sock"), "");
  writeFileSync(join(near.path, `metering-${process.pid}.sock`), "");
  createSocketFolder(data);
  expect(readTextFile(join(near.path, "metering-999999999.sock"))).toBeUndefined();
  expect(readTextFile(join(near.path, `metering-${process.pid}.sock`))).toBe("");

  const far = createSocketFolder(createDataFolder(join(folder, "x".repeat(100))));
  expect(far.path.length).toBeLessThan(70);
  expect(modeOf(far.path)).toBe(0o700);
  far.remove();
  expect(() => statSync(far.path)).toThrow("ENOENT");
});
