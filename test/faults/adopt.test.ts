import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { openJournal } from "@weir/pool/journal/journal";
import { exampleEvent, exampleIntent } from "@weir/pool/journal/examples";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type RunningServices, startServices } from "weir/compose";
import { readSettings } from "weir/settings";
import { createLedgerReader, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";

// A pool that will not come back has left a journal; an operator brings what it holds to the ledger.

const main = join(dirname(dirname(import.meta.dirname)), "services/weir/main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-adopt-"));

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let metering: RunningServices;
let ledger: LedgerReader;
let directory: string;

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  const env = {
    WEIR_DATA_DIR: join(folder, "metering"),
    WEIR_LISTEN: "127.0.0.1:0",
    WEIR_DATABASE_URL: database.url,
    WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
  };
  metering = await startServices(["metering"], readSettings(env), { env: {}, log: silentLog });
});
afterAll(async () => {
  await metering?.drain(5000);
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(folder, "journal-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** Runs `weir journal ...` to its end, or kills it when its output says so or after a time. */
async function journal(args: readonly string[], killAfterMs?: number): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, [main, "journal", ...args, ...addressOf(args)], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: folder, WEIR_DATA_DIR: join(folder, "nothing") },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (text += data.toString()));
  if (killAfterMs !== undefined) {
    // The command has looked at the journal; what it does from now on is what must be safe.
    child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), killAfterMs));
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, text };
}

const addressOf = (args: readonly string[]) =>
  args[0] === "adopt" && !args.includes("--address") ? ["--address", metering.address ?? ""] : [];

/** A journal whose process died: `settled` attempts that ended, `open` ones that did not. Returns their ids. */
async function abandonedJournal(settled: number, open: number) {
  const living = await openJournal({ directory, clock: systemClock, log: silentLog, syncIntervalMs: 1 });
  const begin = (count: number) =>
    Array.from({ length: count }, () => {
      const id = randomUUID();
      void living.intend(exampleIntent(id));
      return id;
    });
  const ended = begin(settled);
  for (const id of ended) living.settle(exampleEvent(id));
  const left = begin(open);
  const { id } = living;
  await living.close();
  return { id, ended, left };
}

const rowsOf = async (ids: readonly string[]) => {
  const wanted = new Set(ids);
  return (await ledger.rows()).filter(({ attemptId }) => wanted.has(attemptId));
};

test("what an abandoned journal holds comes to the ledger, what was open as lost; a second time changes nothing", async () => {
  const { id, ended, left } = await abandonedJournal(700, 9);
  const before = await journal(["status", directory]);
  expect(before).toMatchObject({
    code: 0,
    text: expect.stringMatching(new RegExp(`${id}[^]*nobody[^]*700 events[^]*9 attempts`)),
  });
  const first = await journal(["adopt", directory]);
  expect(first).toMatchObject({ code: 0, text: expect.stringContaining("has all 709 events") });
  expect(first.text).toContain("709 of them new");
  const rows = await rowsOf([...ended, ...left]);
  expect(rows).toHaveLength(709);
  expect(
    rows
      .filter((row) => row.outcome === "lost")
      .map((row) => row.attemptId)
      .toSorted(),
  ).toEqual(left.toSorted());
  const second = await journal(["adopt", directory]);
  expect(second).toMatchObject({ code: 0, text: expect.stringContaining("0 of them new") });
  expect(await rowsOf([...ended, ...left])).toEqual(rows);
});

test("killed at any moment and repeated, it loses and doubles nothing", async () => {
  const { ended, left } = await abandonedJournal(20_000, 50);
  for (const killAfterMs of [0, 150, 300, 450, 700]) await journal(["adopt", directory], killAfterMs);
  expect(await journal(["adopt", directory])).toMatchObject({
    code: 0,
    text: expect.stringContaining("has all 20050"),
  });
  const rows = await rowsOf([...ended, ...left]);
  expect(rows).toHaveLength(20_050);
  expect(rows.filter((row) => row.outcome === "lost")).toHaveLength(50);
  expect(await ledger.query("select * from conflicts")).toEqual([]);
}, 60_000);

test("a journal that a living process uses is refused and left as it is", async () => {
  const living = await openJournal({ directory, clock: systemClock, log: silentLog });
  try {
    const names = readdirSync(directory);
    expect(await journal(["status", directory])).toMatchObject({
      code: 0,
      text: expect.stringContaining(`used by   process ${process.pid}`),
    });
    const refused = await journal(["adopt", directory]);
    expect(refused).toMatchObject({ code: 1, text: expect.stringContaining("only an abandoned one can be adopted") });
    expect(readdirSync(directory)).toEqual(names);
    void living.intend(exampleIntent(randomUUID()));
  } finally {
    await living.close();
  }
});

test("an older copy is refused, unless the original is said to be gone; then nothing of it is lost", async () => {
  const { ended } = await abandonedJournal(5, 0);
  const copy = `${directory}-copy`;
  cpSync(directory, copy, { recursive: true });
  const again = await openJournal({ directory, clock: systemClock, log: silentLog, syncIntervalMs: 1 });
  const later = Array.from({ length: 5 }, () => randomUUID());
  for (const id of later) {
    void again.intend(exampleIntent(id));
    again.settle(exampleEvent(id));
  }
  await again.close();
  expect((await journal(["adopt", directory])).code).toBe(0);
  const refused = await journal(["adopt", copy]);
  expect(refused).toMatchObject({ code: 1, text: expect.stringContaining("older copy") });
  expect(await journal(["adopt", copy, "--older-copy"])).toMatchObject({ code: 0 });
  expect(await rowsOf([...ended, ...later])).toHaveLength(10);
});

test("what is no journal is refused, and so is everything while the ledger does not answer", async () => {
  expect(await journal(["adopt", join(folder, "nowhere")])).toMatchObject({
    code: 1,
    text: expect.stringContaining("holds no journal"),
  });
  expect(await journal(["status", directory])).toMatchObject({ code: 1 });
  writeFileSync(join(directory, "report.txt"), "mine");
  expect(await journal(["adopt", directory])).toMatchObject({ code: 1, text: expect.stringContaining("report.txt") });
  rmSync(join(directory, "report.txt"));
  await abandonedJournal(3, 2);
  const bytes = () => readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), "hex")]);
  const before = bytes();
  const alone = await journal(["adopt", directory, "--address", "127.0.0.1:1"]);
  expect(alone).toMatchObject({ code: 1, text: expect.stringContaining("does not answer") });
  expect(bytes()).toEqual(before);
});
