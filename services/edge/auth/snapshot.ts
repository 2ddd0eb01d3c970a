import { create, equals, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  type AccountService,
  type KeyRecord,
  KeyRecordSchema,
  type WatchKeysResponse,
} from "@weir/gen/weir/account/v1/account_service_pb";
import type { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { permissionsOf } from "@weir/kit/roles";
import { CallCancelled } from "@weir/kit/weir-error";
import type { Limited } from "../limits/limits.ts";

/** A key that is live, ready for use. */
export interface Caller extends Limited {
  /** Id of the key. */
  readonly id: string;
  /** Id of the tenant that pays. */
  readonly tenant: string;
  /** HMAC-SHA-256 of the key's text under the pepper. */
  readonly digest: Uint8Array;
  /** Wall-clock time from which the key is refused; Infinity: never. */
  readonly expireMs: number;
  /** An encoded weir.common.v1.Principal without `user` and `tags`, and the same in base 64. */
  readonly principal: Uint8Array;
  readonly principalHeader: string;
  /** What the caller's role allows. */
  readonly permissions: ReadonlySet<Permission>;
  /** Whether the key's scope has an endpoint. */
  readonly mayUse: (endpoint: string) => boolean;
  /** Whether the key may call an alias. */
  readonly mayCall: (alias: string) => boolean;
  /** False once the key was revoked or its record was replaced. */
  isLive: boolean;
}

/** The live keys of all tenants, in memory. */
export interface KeySnapshot {
  get(id: string): Caller | undefined;
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
  let callers: ReadonlyMap<string, Caller> = new Map();
  let changeable = new Map<string, Caller>();
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
      let building: Map<string, Caller> | undefined = new Map();
      for await (const message of deps.accounts.watchKeys({}, { signal: call.signal })) {
        heard = clock.monotonic();
        apply(message, building ?? changeable);
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

  function apply(message: WatchKeysResponse, into: Map<string, Caller>): void {
    for (const record of message.records) {
      const known = changeable.get(record.id);
      if (known !== undefined && isSame(known, record)) {
        into.set(record.id, known);
        continue;
      }
      if (into === changeable) retire(known);
      into.set(record.id, callerOf(record));
    }
    for (const id of message.removed) {
      if (into === changeable) retire(into.get(id));
      into.delete(id);
    }
  }

  function replace(next: Map<string, Caller>): void {
    for (const caller of changeable.values()) {
      if (next.get(caller.id) !== caller) retire(caller);
    }
    changeable = next;
    callers = next;
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
    get: (id) => callers.get(id),
    get isLoaded() {
      return isLoaded;
    },
    get isFresh() {
      return isLoaded && clock.monotonic() - lastSignMs <= staleAfterMs;
    },
    get size() {
      return callers.size;
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

const recordsOf = new WeakMap<Caller, KeyRecord>();

function isSame(caller: Caller, record: KeyRecord): boolean {
  const known = recordsOf.get(caller);
  return caller.isLive && known !== undefined && equals(KeyRecordSchema, known, record);
}

function callerOf(record: KeyRecord): Caller {
  const { role, everyTenant } = record;
  const principal = toBinary(
    PrincipalSchema,
    create(PrincipalSchema, {
      tenant: record.tenant,
      key: record.id,
      role,
      everyTenant,
      team: record.team,
      accountUser: record.user,
    }),
  );
  const endpoints = record.scope?.endpoints ?? [];
  const caller: Caller = {
    id: record.id,
    tenant: record.tenant,
    digest: record.digest,
    expireMs: record.expireTime === undefined ? Number.POSITIVE_INFINITY : timestampMs(record.expireTime),
    requestsPerMinute: record.scope?.requestsPerMinute,
    tokensPerMinute: record.scope?.tokensPerMinute,
    principal,
    principalHeader: base64(principal),
    permissions: permissionsOf(role, everyTenant),
    mayUse: endpoints.length === 0 ? () => true : (endpoint) => endpoints.includes(endpoint),
    mayCall: scopeOf(record.scope?.models ?? []),
    isLive: true,
  };
  recordsOf.set(caller, record);
  return caller;
}

/** The principal of a call that names its end user or has tags: the key's principal with more fields. @param tags encoded */
export function principalHeaderFor(caller: Caller, user: string | undefined, tags?: Uint8Array): string {
  if (user === undefined && tags === undefined) return caller.principalHeader;
  const fields = [caller.principal];
  if (user !== undefined) fields.push(new BinaryWriter().tag(3, WireType.LengthDelimited).string(user).finish());
  if (tags !== undefined) fields.push(tags);
  return base64(Buffer.concat(fields));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** @param models names, and prefixes that end in `*`; none: everything */
function scopeOf(models: readonly string[]): (alias: string) => boolean {
  if (models.length === 0) return () => true;
  const names = new Set(models.filter((model) => !model.endsWith("*")));
  const prefixes = models.filter((model) => model.endsWith("*")).map((model) => model.slice(0, -1));
  return (alias) => names.has(alias) || prefixes.some((prefix) => alias.startsWith(prefix));
}
