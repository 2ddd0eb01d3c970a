import { equals } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  type AccountService,
  type KeyRecord,
  KeyRecordSchema,
  type SubjectRecord,
  type WatchKeysResponse,
} from "@weir/gen/weir/account/v1/account_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled } from "@weir/kit/weir-error";
import { type Caller, createCaller } from "./caller.ts";

/** A key that is live, ready for use. */
export interface KeyCaller extends Caller {
  /** HMAC-SHA-256 of the key's text under the pepper. */
  readonly digest: Uint8Array;
}

/** The live keys of all tenants, in memory, and what is said of the tenants, teams and users that they belong to. */
export interface KeySnapshot {
  /** @param digest HMAC-SHA-256 of the key's text under the pepper */
  find(digest: Buffer): KeyCaller | undefined;
  /** Whether there is such a tenant; true of all while the accounts are of a version that does not tell. */
  hasTenant(id: string): boolean;
  /** Limits and state of a tenant, a team or a user, by its name; undefined: it has no limits and is not disabled. */
  subject(name: string): SubjectRecord | undefined;
  /** Whether the set has been complete at least once. */
  readonly isLoaded: boolean;
  /** Whether an unknown key is surely no live one: the set is complete and the last sign of life is recent. */
  readonly isFresh: boolean;
  readonly size: number;
  close(): void;
}

export interface KeySnapshotDeps {
  readonly accounts: Pick<Client<typeof AccountService>, "watchKeys">;
  readonly clock: Clock;
  /** From 0 to less than 1; spreads reconnects. */
  readonly random: () => number;
  readonly log: Log;
}

/** Signs of life come every second. */
const staleAfterMs = 5_000;
/** A stream that shows no sign of life for so long is given up and opened anew. */
const silentAfterMs = 10_000;
const backoffMinMs = 100;
const backoffMaxMs = 5_000;

/** Follows the keys from now until `close`. Keeps the keys it has while the accounts do not answer. */
export function createKeySnapshot(deps: KeySnapshotDeps): KeySnapshot {
  const { clock, log } = deps;
  const ended = new AbortController();
  let current = noKeys();
  let isLoaded = false;
  let lastSignMs = Number.NEGATIVE_INFINITY;

  /** Takes a stream until it ends; the set that it begins with replaces the present one as soon as it is complete. */
  async function follow(): Promise<void> {
    const call = new AbortController();
    const stop = () => call.abort();
    ended.signal.addEventListener("abort", stop, { once: true });
    let heard = clock.monotonic();
    let cancelWatch = clock.after(silentAfterMs, watch);
    function watch(): void {
      const silentMs = clock.monotonic() - heard;
      if (silentMs >= silentAfterMs) {
        log.warn({ silentMs: Math.round(silentMs) }, "the stream of keys shows no sign of life");
        call.abort();
      } else cancelWatch = clock.after(silentAfterMs - silentMs, watch);
    }
    try {
      let building: KeySet | undefined = noKeys();
      for await (const message of deps.accounts.watchKeys({}, { signal: call.signal })) {
        heard = clock.monotonic();
        apply(message, building ?? current);
        if (message.complete && building !== undefined) {
          replace(building);
          building = undefined;
        }
        if (building === undefined) lastSignMs = heard;
      }
    } finally {
      cancelWatch();
      ended.signal.removeEventListener("abort", stop);
    }
  }

  function apply(message: WatchKeysResponse, into: KeySet): void {
    const { callers, byDigest, subjects, tenants } = into;
    for (const record of message.records) {
      const known = current.callers.get(record.id);
      const isKnown = known !== undefined && isSame(known, record);
      if (!isKnown && into === current) retire(known);
      const caller = isKnown ? known : callerOf(record);
      forget(into, record.id);
      callers.set(record.id, caller);
      byDigest.set(textOf(caller.digest), caller);
    }
    for (const id of message.removed) {
      if (into === current) retire(callers.get(id));
      forget(into, id);
    }
    if (message.allTenants) into.hasAllTenants = true;
    for (const subject of message.subjects) {
      if (subject.name.startsWith(tenantPrefix)) tenants.add(subject.name.slice(tenantPrefix.length));
      if (subject.disabled || subject.limits !== undefined) subjects.set(subject.name, subject);
      else subjects.delete(subject.name);
    }
  }

  function replace(next: KeySet): void {
    for (const caller of current.callers.values()) {
      if (next.callers.get(caller.id) !== caller) retire(caller);
    }
    current = next;
    isLoaded = true;
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!ended.signal.aborted) {
      const signBefore = lastSignMs;
      try {
        await follow();
      } catch (thrown) {
        if (ended.signal.aborted) return;
        if (!(thrown instanceof CallCancelled)) log.warn({ error: thrown, failures }, "the stream of keys broke off");
      }
      failures = lastSignMs > signBefore ? 0 : failures + 1;
      const longest = Math.min(backoffMinMs * 2 ** failures, backoffMaxMs);
      await pause(clock, longest * (0.5 + deps.random() / 2), ended.signal);
    }
  }

  void run();

  return {
    find: (digest) => current.byDigest.get(textOf(digest)),
    hasTenant: (id) => !current.hasAllTenants || current.tenants.has(id),
    subject: (name) => current.subjects.get(name),
    get isLoaded() {
      return isLoaded;
    },
    get isFresh() {
      return isLoaded && clock.monotonic() - lastSignMs <= staleAfterMs;
    },
    get size() {
      return current.callers.size;
    },
    close: () => ended.abort(),
  };
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(delayMs, done);
    function done(): void {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done, { once: true });
  });
}

function retire(caller: Caller | undefined): void {
  if (caller !== undefined) caller.isLive = false;
}

interface KeySet {
  /** By id. */
  readonly callers: Map<string, KeyCaller>;
  /** By the text of the digest. */
  readonly byDigest: Map<string, KeyCaller>;
  readonly subjects: Map<string, SubjectRecord>;
  /** Ids. None is ever deleted. */
  readonly tenants: Set<string>;
  hasAllTenants: boolean;
}

const tenantPrefix = "tenants/";

function noKeys(): KeySet {
  return { callers: new Map(), byDigest: new Map(), subjects: new Map(), tenants: new Set(), hasAllTenants: false };
}

function forget({ callers, byDigest }: KeySet, id: string): void {
  const known = callers.get(id);
  if (known === undefined) return;
  callers.delete(id);
  byDigest.delete(textOf(known.digest));
}

/** A character for each byte. */
function textOf(digest: Uint8Array): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString("latin1");
}

const recordsOf = new WeakMap<Caller, KeyRecord>();

function isSame(caller: Caller, record: KeyRecord): boolean {
  const known = recordsOf.get(caller);
  return caller.isLive && known !== undefined && equals(KeyRecordSchema, known, record);
}

function callerOf(record: KeyRecord): KeyCaller {
  const { id, digest, tenant, role, everyTenant, team, user, scope, expireTime } = record;
  const expireMs = expireTime === undefined ? Number.POSITIVE_INFINITY : timestampMs(expireTime);
  const caller = {
    ...createCaller({ id, isToken: false, tenant, role, everyTenant, team, user, scope, expireMs }),
    digest,
  };
  recordsOf.set(caller, record);
  return caller;
}
