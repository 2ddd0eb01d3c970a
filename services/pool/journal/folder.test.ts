import * as fs from "node:fs";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { directory, open, run, useFolders } from "./journal-under-test.ts";

useFolders();

test("a directory belongs to one process", async () => {
  await open();
  await expect(open()).rejects.toMatchObject({
    reason: ErrorReason.STORE_UNAVAILABLE,
    message: expect.stringContaining(String(process.pid)),
  });
});

test("the lock of a dead process, or of another that got its id, is taken over", async () => {
  const lock = join(directory, "lock");
  const { hostname } = await import("node:os");
  fs.writeFileSync(lock, JSON.stringify({ pid: 2 ** 22 + 1, started: "x/1", host: hostname() }));
  await (await open()).close();
  fs.writeFileSync(lock, JSON.stringify({ pid: process.pid, started: "other boot/1", host: hostname() }));
  await (await open()).close();
  fs.writeFileSync(lock, JSON.stringify({ pid: 1, started: "x/1", host: "another-host" }));
  const old = new Date(Date.now() - 60_000);
  fs.utimesSync(lock, old, old);
  await (await open()).close();
});

test("directories that are no journal's are refused, with what to do", async () => {
  const refused = async (text: string) => await expect(open()).rejects.toThrow(text);
  fs.writeFileSync(join(directory, "thesis.txt"), "x");
  await refused("choose an empty directory");
  fs.rmSync(join(directory, "thesis.txt"));

  const journal = await open();
  run(journal, 2);
  await journal.close();
  const path = join(directory, "segment-0000000001.wal");
  const whole = fs.readFileSync(path);

  fs.mkdirSync(join(directory, "segment-0000000009.wal"));
  await refused("is no file");
  fs.rmdirSync(join(directory, "segment-0000000009.wal"));

  const { crc32 } = await import("node:zlib");
  const later = Buffer.from(whole);
  later.writeUInt32LE(2, 8);
  later.writeUInt32LE(crc32(later.subarray(0, 60)), 60);
  fs.writeFileSync(path, later);
  await refused("later version");

  const other = Buffer.from(whole);
  other[16] = (other[16] as number) ^ 1;
  other.writeUInt32LE(crc32(other.subarray(0, 60)), 60);
  fs.writeFileSync(path, other);
  await refused("belongs to journal");

  const headless = Buffer.from(whole);
  headless.fill(0, 0, 64);
  fs.writeFileSync(path, headless);
  fs.rmSync(join(directory, "journal.id"));
  await refused("restore journal.id");

  // Foreign files in a journal, cut-off segments and an empty last one do no harm.
  fs.writeFileSync(path, whole);
  fs.writeFileSync(join(directory, "notes.txt"), "x");
  fs.writeFileSync(join(directory, "segment-0000000002.wal.new"), "x");
  fs.writeFileSync(join(directory, "segment-0000000003.wal"), "");
  const again = await open();
  expect(again.status()).toMatchObject({ lastSequence: 2, damagedRecords: 0 });
  expect(fs.existsSync(join(directory, "segment-0000000002.wal.new"))).toBe(false);
});
