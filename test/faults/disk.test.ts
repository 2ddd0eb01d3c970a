import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { openJournal } from "@weir/pool/journal/journal";
import { createDirectSink } from "@weir/pool/journal/sink-direct";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type Billed, brokenLaws, createLedgerReader, differences, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { createFailingDisk } from "./failing-disk.ts";
import { type RunningMetering, startMetering } from "./metering.ts";
import { runScenario, scenarioTimeoutMs } from "./scenario.ts";
import { createSource, intentOf, reservedTokens, settlementOf, sourcePriceOf } from "./usage-source.ts";

// Faults of the disk under a journal. Real: journal and drain, metering (in the test's process, called over a link) and
// Postgres. The disk is a real one behind calls that fail when they are told; F13 of mesh.test.ts fills a real one.

const lanes = 4;
const folder = mkdtempSync(join(tmpdir(), "weir-disk-faults-"));

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let ledger: LedgerReader;
let metering: RunningMetering;

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  metering = await startMetering(database.url);
});
afterAll(async () => {
  await metering?.close();
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test(
  "F13 syncs that fail and writes that find no room: what the journal refuses does not leave, what left has its row",
  async () => {
    await runScenario(
      "F13-errors",
      async ({ random, tag }) => {
        const disk = createFailingDisk(random);
        const source = await createSource({
          directory: join(folder, tag),
          sink: () => createDirectSink(metering.usage),
          tag,
          random,
          journal: { files: disk.files, segmentBytes: 8192, syncIntervalMs: random() < 0.3 ? 5 : 1 },
        });
        let refused = 0;
        const produce = setInterval(() => {
          try {
            source.run(1 + Math.floor(random() * 6));
          } catch {
            refused++;
          }
        }, 3);
        try {
          await pause(random() * 60);
          const kind = random() < 0.5 ? "full" : "syncFails";
          disk[kind] = true;
          await vi.waitFor(() => expect(refused).toBeGreaterThan(0), { timeout: 10_000, interval: 5 });
          await pause(random() * 250);
          disk[kind] = false;
          await pause(random() * 60);
        } finally {
          clearInterval(produce);
        }
        return async () => {
          if (source.journal.status().writable !== true) return ["the journal does not go on"];
          if (!source.drained()) return ["the ledger has not confirmed everything"];
          const rows = await ledger.rows({ endUser: tag });
          const faults = differences(rows, [...source.billed.values()], sourcePriceOf);
          faults.push(...(await brokenLaws(ledger, tag)));
          if (faults.length === 0) await source.close();
          return faults;
        };
      },
      { atOnce: lanes },
    );
  },
  scenarioTimeoutMs(),
);

/** Runs attempts on a disk that dies after so many calls. Settled: those whose settlement's turn was over before. */
async function runUntilDeath(directory: string, tag: string, random: () => number) {
  const disk = createFailingDisk(random);
  const journal = await openJournal({
    directory,
    segmentBytes: 8192,
    syncIntervalMs: 1,
    clock: systemClock,
    log: silentLog,
    files: disk.files,
  });
  disk.callsLeft = 1 + Math.floor(random() * 250);
  const billed = new Map<string, Billed>();
  const settled = new Set<string>();
  const open: ReturnType<typeof intentOf>[] = [];
  while (!disk.dead) {
    try {
      for (let i = Math.floor(random() * 4); i >= 0; i--) {
        const intent = intentOf(randomUUID(), tag, Date.now());
        void journal.intend(intent);
        const id = intent.attemptId;
        const inputTokens = 1 + Math.floor(random() * 5000);
        billed.set(id, { id, end: "completed", inputTokens, outputTokens: Math.floor(random() * 3000) });
        open.push(intent);
      }
    } catch {
      // Refused: it does not leave.
    }
    const ended = open.splice(0, Math.floor(random() * 5));
    for (const intent of ended) journal.settle(settlementOf(intent, billed.get(intent.attemptId) as Billed));
    await new Promise((resolve) => setImmediate(resolve));
    if (!disk.dead) for (const { attemptId } of ended) settled.add(attemptId);
  }
  await journal.close();
  return { billed, settled };
}

/** Harms a journal's files. Returns how many records that can have hit. */
function damage(directory: string, random: () => number): { readonly what: string; readonly recordsMax: number } {
  const segments = readdirSync(directory)
    .filter((name) => name.endsWith(".wal"))
    .toSorted()
    .map((name) => join(directory, name));
  const any = segments[Math.floor(random() * segments.length)] as string;
  const last = segments.at(-1) as string;
  const kind = Math.floor(random() * 4);
  if (kind === 0) return { what: "the crash alone", recordsMax: 0 };
  if (kind === 1) {
    const { length } = readFileSync(last);
    const cut = Math.floor(random() * Math.min(length, 2000));
    truncateSync(last, length - cut);
    // No record of an event is shorter than 100 bytes.
    return { what: `the last ${cut} bytes gone`, recordsMax: Math.ceil(cut / 100) + 1 };
  }
  const bytes = readFileSync(any);
  if (kind === 2) {
    const flips = 1 + Math.floor(random() * 4);
    for (let i = 0; i < flips; i++) {
      const at = Math.floor(random() * bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    }
    writeFileSync(any, bytes);
    return { what: `${flips} bits flipped`, recordsMax: flips };
  }
  const at = Math.floor(random() * Math.max(1, bytes.length - 512));
  bytes.fill(0, at, Math.min(at + 512, bytes.length));
  writeFileSync(any, bytes);
  return { what: "a sector of zeros", recordsMax: 7 };
}

test(
  "F16 a crash in any call, also while a segment begins, and damaged files: only what was hit is lost, and it is told",
  async () => {
    await runScenario(
      "F16",
      async ({ random, tag }) => {
        const directory = join(folder, tag);
        const { billed, settled } = await runUntilDeath(directory, tag, random);
        const { what, recordsMax } = damage(directory, random);
        // Damage to the very last record looks like a write that was cut off, and is told as such.
        let told = "";
        const tell = (_: object, text: string) => void (told += `${text}\n`);
        const source = await createSource({
          directory,
          sink: () => createDirectSink(metering.usage),
          tag,
          random,
          journal: { log: { ...silentLog, warn: tell, error: tell } },
        });
        return async () => {
          if (!source.drained()) return ["the ledger has not confirmed everything"];
          const rows = await ledger.rows({ endUser: tag });
          const standing = new Map(rows.map((row) => [row.attemptId, row]));
          const missing = [...billed.keys()].filter((id) => !standing.has(id));
          const lost = [...settled].filter((id) => standing.get(id)?.outcome === "lost");
          const found = [...billed.values()].filter(({ id }) => standing.has(id));
          const faults = [...differences(rows, found, sourcePriceOf), ...(await brokenLaws(ledger, tag))];
          for (const { attemptId, outcome, usageSource, inputTokens, outputTokens } of rows) {
            if (outcome !== "lost") continue;
            const isWorst = inputTokens === reservedTokens.inputTokens && outputTokens === reservedTokens.outputTokens;
            if (usageSource !== "estimated" || !isWorst) faults.push(`${attemptId} is lost, and not at its worst case`);
          }
          if (missing.length + lost.length > recordsMax) {
            faults.push(`${missing.length} attempts have no row and ${lost.length} lost their settlement`);
          }
          const isTold = /damaged|torn|no record/.test(told) || what.startsWith("the ");
          if (missing.length + lost.length > 0 && !isTold) faults.push("damage that nobody was told of");
          if (faults.length === 0) await source.close();
          return faults.map((fault) => `${what}: ${fault}`);
        };
      },
      { atOnce: lanes },
    );
  },
  scenarioTimeoutMs(),
);
