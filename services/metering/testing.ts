import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { metrics } from "@opentelemetry/api";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import {
  AttemptOutcome,
  type UsageBatch,
  UsageBatchSchema,
  type UsageEvent,
  UsageEventSchema,
} from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { type Price, priceId } from "@weir/price/price";
import pg from "pg";
import { createDatabase, startPostgres } from "../../test/servers.ts";
import { createMetering, type Metering } from "./service.ts";
import { type Database, type DatabasePlace, openDatabase } from "./database.ts";

// What the tests of this folder share.

/** A database for one test file, and a connection of one's own to look into it where the engine has more than one. */
export interface TestDatabase {
  readonly place: DatabasePlace;
  readonly database: Database;
  /** Rows of a query, as the driver gives them. */
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

export async function openTestDatabase(engine: Database["engine"]): Promise<TestDatabase> {
  if (engine === "embedded") {
    const embeddedDirectory = await embeddedDirectoryForTest();
    const place = { embeddedDirectory };
    const database = await openDatabase(place);
    return {
      place,
      database,
      query: (text, values) =>
        database.asOwner(async (client) => (await client.query<Record<string, unknown>>(text, values)).rows),
      async end() {
        await database.close();
        rmSync(embeddedDirectory, { recursive: true, force: true });
      },
    };
  }
  const server = await startPostgres();
  const { url, drop } = await createDatabase(server.url);
  const place = { url };
  const database = await openDatabase(place);
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  pool.on("error", () => undefined);
  return {
    place,
    database,
    query: async (text, values) => (await pool.query<Record<string, unknown>>(text, values)).rows,
    async end() {
      await pool.end();
      await database.close();
      await drop();
      await server.stop();
    },
  };
}

/** A folder with a fresh embedded database; copied, since making one takes seconds. */
export async function embeddedDirectoryForTest(): Promise<string> {
  const template = join(tmpdir(), `weir-pglite-template-${process.getuid?.() ?? 0}-0.5.14`);
  if (!existsSync(template)) {
    const draft = mkdtempSync(`${template}-`);
    await (await openDatabase({ embeddedDirectory: draft })).close();
    try {
      renameSync(draft, template);
    } catch {
      // Another test file was quicker.
      rmSync(draft, { recursive: true, force: true });
    }
  }
  const directory = mkdtempSync(join(tmpdir(), "weir-pglite-"));
  mkdirSync(directory, { recursive: true });
  cpSync(template, directory, { recursive: true });
  return directory;
}

export const testMeter = metrics.getMeter("test");

/** The service on a database, with nothing faked but the pepper. */
export function meteringOn(database: Database): Metering {
  return createMetering({ database, pepper: testPepper, clock: systemClock, meter: testMeter, log: silentLog });
}

export const testPepper = Buffer.alloc(32, 7);

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

const effectiveTime = Date.UTC(2026, 0, 1);

export const testPrice: Price = {
  id: priceId({ provider: "acme", model: "large", effectiveTime }),
  provider: "acme",
  model: "large",
  effectiveTime,
  nanoUsdPerMillion: {
    input: 2_000_000_000n,
    cachedInput: 500_000_000n,
    cacheWrite: 2_500_000_000n,
    output: 8_000_000_000n,
  },
  source: "test",
};

/** An id that says which one it is: UUIDs of version 7 in shape. */
export function attemptId(number: number): string {
  return `01900000-0000-7000-8000-${number.toString(16).padStart(12, "0")}`;
}

/** An id made at a time, in milliseconds since 1970, as a pool makes them; also says which one it is. */
export function attemptIdAt(timeMs: number, number: number): string {
  const time = timeMs.toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${number.toString(16).padStart(12, "0")}`;
}

export const journalA = "11111111-1111-4111-8111-111111111111";
export const journalB = "22222222-2222-4222-8222-222222222222";

type EventFields = Exclude<MessageInitShape<typeof UsageEventSchema>, UsageEvent>;

/** A settled attempt: 1,000 tokens in, 100 of them cached, and 50 out: 0.00225 USD at `testPrice`. */
export function testEvent(number: number, overrides: EventFields = {}): UsageEvent {
  return create(UsageEventSchema, {
    attemptId: attemptId(number),
    requestId: `request-${number}`,
    principal: { tenant: "default", key: "abcdefghijklmnop", user: "" },
    alias: "large",
    target: { provider: "acme", model: "large" },
    priceId: testPrice.id,
    startTime: timestampFromMs(Date.UTC(2026, 10, 20, 12) + number),
    endTime: timestampFromMs(Date.UTC(2026, 10, 20, 12) + number + 800),
    outcome: AttemptOutcome.COMPLETED,
    usage: { inputTokens: 1_000, cachedInputTokens: 100, outputTokens: 50 },
    usageSource: UsageSource.REPORTED,
    providerReplyId: `chatcmpl-${number}`,
    providerStatus: 200,
    firstTokenUs: 250_000n,
    stream: true,
    ...overrides,
  });
}

export const testEventCost = 2_250_000n;

/** Events `first` to `last`, as the journal would number them. */
export function testBatch(first: number, last: number, journalId = journalA): UsageBatch {
  const events = Array.from({ length: last - first + 1 }, (_, index) => testEvent(first + index));
  return create(UsageBatchSchema, { journalId, firstSequence: BigInt(first), events });
}
