import { closeSync, fdatasync, openSync, writeSync } from "node:fs";

/** One request that the simulator served: a line of the count file. */
export interface AttemptRecord {
  /** The request's `x-client-request-id`; empty when it had none. */
  readonly id: string;
  readonly model: string;
  readonly stream: boolean;
  /** HTTP status that was sent; 0 when none was. */
  readonly status: number;
  readonly end: AttemptEnd;
  /** Whether the client closed the connection before the answer was complete. */
  readonly clientLeft: boolean;
  /** Tokens that were billed. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Bytes of the body that were handed to the operating system. */
  readonly bytes: number;
  /** Writes of the body. */
  readonly chunks: number;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  /** When the pause before the first token was over; the start where there was none. */
  readonly tokensFromMs: number;
  readonly endMs: number;
}

export type AttemptEnd =
  /** The answer was written wholly. */
  | "completed"
  /** It was an error with a status. */
  | "refused"
  /** A fault cut it off. */
  | "faulted"
  /** The client left first, and work stopped. */
  | "abandoned";

/** Sums over all served requests. */
export interface Counts {
  readonly attempts: number;
  /** Requests that are being served now. */
  readonly open: number;
  readonly completed: number;
  readonly refused: number;
  readonly faulted: number;
  readonly abandoned: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** The simulator's own book of what it served. */
export interface AttemptBook {
  add(record: AttemptRecord): void;
  /** All servings of one attempt id: more than one if a client sent it twice. */
  find(id: string): readonly AttemptRecord[];
  /** In the order in which they ended; the oldest are forgotten beyond the bound. */
  list(): readonly AttemptRecord[];
  sums(): Omit<Counts, "open">;
  /** Resolves when everything added so far is on disk. @throws the error of a failed write or sync */
  synced(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the book.
 * @param file appended to, one line of JSON for each record: written before `add` returns, synced to disk in groups
 * @param recordsMax records kept in memory
 */
export function createAttemptBook(file: string | undefined, recordsMax: number): AttemptBook {
  const fd = file === undefined ? undefined : openSync(file, "a", 0o600);
  let records: AttemptRecord[] = [];
  const byId = new Map<string, AttemptRecord[]>();
  const sums = { attempts: 0, completed: 0, refused: 0, faulted: 0, abandoned: 0, inputTokens: 0, outputTokens: 0 };
  let syncing: Promise<void> | undefined;
  let dirty = false;
  let failure: Error | undefined;

  function forgetOldest(): void {
    const kept = records.length >> 1;
    for (const record of records.slice(0, records.length - kept)) byId.delete(record.id);
    records = records.slice(records.length - kept);
  }

  function sync(target: number): Promise<void> {
    syncing ??= new Promise<void>((resolve) => {
      dirty = false;
      fdatasync(target, (error) => {
        failure ??= error ?? undefined;
        syncing = undefined;
        if (dirty && failure === undefined) void sync(target).then(resolve);
        else resolve();
      });
    });
    return syncing;
  }

  return {
    add(record) {
      if (fd !== undefined) {
        writeSync(fd, `${JSON.stringify(record)}\n`);
        dirty = true;
        void sync(fd);
      }
      if (records.length >= recordsMax) forgetOldest();
      records.push(record);
      const same = byId.get(record.id);
      if (same === undefined) byId.set(record.id, [record]);
      else same.push(record);
      sums.attempts++;
      sums[record.end]++;
      sums.inputTokens += record.inputTokens;
      sums.outputTokens += record.outputTokens;
    },
    find: (id) => byId.get(id) ?? [],
    list: () => records,
    sums: () => ({ ...sums }),
    async synced() {
      while (fd !== undefined && (dirty || syncing !== undefined)) await sync(fd);
      if (failure !== undefined) throw failure;
    },
    async close() {
      try {
        await this.synced();
      } finally {
        if (fd !== undefined) closeSync(fd);
      }
    },
  };
}
