import { create, fromJson, type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { timestampFromDate, timestampMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AccountService,
  type CreateKeyRequest,
  KeyRecordSchema,
  KeySchema,
  KeyScopeSchema,
  TenantSchema,
  type WatchKeysResponseSchema,
} from "@weir/gen/weir/account/v1/account_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { createKeyText, keyDigest, type RandomBytes } from "@weir/kit/api-key";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { AccountStore, KeyRow, NewKey, TenantRow } from "./account-store.ts";
import type { Waiting } from "./waiting.ts";

export interface AccountsDependencies {
  readonly store: AccountStore;
  /** Key of the HMAC over keys' texts; every edge has the same. */
  readonly pepper: Buffer;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Of the streams of WatchKeys. */
  readonly waiting: Waiting;
}

/** Changes made elsewhere show after this long at most; the contract says half a second. */
const pollMs = 400;
const signOfLifeMs = 1_000;
const recordsAtOnce = 500;
const listCountMax = 10_000;

export function createAccounts({
  store,
  pepper,
  clock,
  random,
  waiting,
}: AccountsDependencies): Partial<ServiceImpl<typeof AccountService>> {
  function newKey(options: Omit<NewKey, "keyId" | "digest">): { key: NewKey; secret: string } {
    const { id, text } = createKeyText(random);
    return { key: { ...options, keyId: id, digest: keyDigest(pepper, text) }, secret: text };
  }

  const service: Partial<ServiceImpl<typeof AccountService>> = {
    async createTenant({ tenantId, displayName }) {
      const tenant = await store.createTenant(
        idOf(`tenants/${tenantId}`, "tenants/", "tenant_id"),
        displayName.toWellFormed(),
      );
      if (!tenant) {
        throw new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: `tenants/${tenantId}` } });
      }
      return { tenant: toProtoTenant(tenant) };
    },

    async listTenants() {
      return { tenants: (await store.listTenants()).map(toProtoTenant) };
    },

    async createKey(request) {
      const tenantId = idOf(request.tenant, "tenants/", "tenant");
      const expireTime = expireTimeOf(request, clock);
      const scope = toJson(KeyScopeSchema, request.scope ?? create(KeyScopeSchema));
      const displayName = request.displayName.toWellFormed();
      const { key, secret } = newKey({ tenantId, displayName, scope, expireTime });
      const row = await store.createKey(key);
      if (!row) {
        throw new WeirError(ErrorReason.NOT_FOUND, {
          text: "There is no such tenant; CreateTenant (`weir tenants create`) makes one.",
          metadata: { resource: request.tenant },
        });
      }
      waiting.wakeAll();
      return { key: toProtoKey(row), secret };
    },

    async listKeys({ tenant }) {
      const tenantId = tenant === "" ? undefined : idOf(tenant, "tenants/", "tenant");
      return { keys: (await store.listKeys(tenantId, listCountMax)).map(toProtoKey) };
    },

    async revokeKey({ name }) {
      const row = await store.revokeKey(idOf(name, "keys/", "name"));
      if (!row) throw new WeirError(ErrorReason.NOT_FOUND, { metadata: { resource: name } });
      waiting.wakeAll();
      return { key: toProtoKey(row) };
    },

    // Nothing is buffered here: each stream reads the store at its reader's pace.
    async *watchKeys(_, { signal }): AsyncGenerator<MessageInitShape<typeof WatchKeysResponseSchema>> {
      // Taken before the snapshot: a change in between is sent twice, never missed.
      let revision = await store.revision();
      let page: readonly KeyRow[] = [];
      do {
        page = await store.listLiveKeys(page.at(-1)?.keyId ?? "", recordsAtOnce);
        yield { records: page.map(toProtoRecord), complete: page.length < recordsAtOnce };
      } while (page.length === recordsAtOnce && !signal.aborted);
      let sentMs = clock.monotonic();
      while (!signal.aborted && !waiting.isOver) {
        const rows = await store.listChangedKeys(revision, recordsAtOnce);
        if (rows.length > 0 || clock.monotonic() - sentMs >= signOfLifeMs) {
          sentMs = clock.monotonic();
          yield {
            records: rows.filter((row) => !row.revokeTime).map(toProtoRecord),
            removed: rows.filter((row) => row.revokeTime).map((row) => row.keyId),
          };
        }
        revision = rows.at(-1)?.revision ?? revision;
        if (rows.length === recordsAtOnce) continue;
        await waiting.wait(Math.min(pollMs, Math.max(0, sentMs + signOfLifeMs - clock.monotonic())), signal);
      }
    },
  };

  return service;
}

function idOf(name: string, prefix: string, param: string): string {
  const id = name.slice(prefix.length);
  if (name.startsWith(prefix) && /^[a-z0-9-]{1,63}$/.test(id)) return id;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `\`${param}\` must be \`${prefix}\` and an id.`,
    metadata: { param },
  });
}

function expireTimeOf({ expireTime }: CreateKeyRequest, clock: Clock): Date | null {
  if (!expireTime) return null;
  const ms = timestampMs(expireTime);
  if (ms > clock.now() && ms < expireTimeMaxMs) return new Date(ms);
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "`expire_time` must lie in the future, and before the year 9999.",
    metadata: { param: "expire_time" },
  });
}

const expireTimeMaxMs = Date.UTC(9999, 0, 1);

function toProtoTenant(row: TenantRow) {
  return create(TenantSchema, {
    name: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    createTime: timestampFromDate(row.createTime),
  });
}

function toProtoKey(row: KeyRow) {
  return create(KeySchema, {
    name: `keys/${row.keyId}`,
    tenant: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    scope: scopeOf(row),
    createTime: timestampFromDate(row.createTime),
    ...(row.expireTime && { expireTime: timestampFromDate(row.expireTime) }),
    ...(row.revokeTime && { revokeTime: timestampFromDate(row.revokeTime) }),
  });
}

function toProtoRecord(row: KeyRow) {
  return create(KeyRecordSchema, {
    id: row.keyId,
    digest: row.digest,
    tenant: row.tenantId,
    scope: scopeOf(row),
    ...(row.expireTime && { expireTime: timestampFromDate(row.expireTime) }),
  });
}

/** A scope that a later version wrote may have limits that this one does not know; they cannot be enforced here. */
function scopeOf(row: KeyRow) {
  return fromJson(KeyScopeSchema, row.scope as JsonValue, { ignoreUnknownFields: true });
}
