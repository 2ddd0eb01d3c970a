import { randomUUIDv7 } from "node:crypto";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { operatorKey } from "@weir/kit/operator";
import type { ClientBase } from "pg";
import { type Confinement, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { type RoleWord, roleWord } from "./role-words.ts";

/** Who acted. Empty texts: not known, or none. */
export interface Actor {
  readonly kind: "caller" | "operator" | "unknown";
  readonly key: string;
  readonly user: string;
  readonly role: RoleWord | "";
  readonly tenant: string;
}

/** A field that changed, with its values as JSON; empty: nothing. */
export interface FieldChange {
  readonly field: string;
  readonly before: string;
  readonly after: string;
}

/** What was done. */
export interface Deed {
  /** The resource's kind and the verb: `keys.rotate`. */
  readonly action: string;
  /** Id of the tenant that it is about; null: of none in particular. */
  readonly tenantId: string | null;
  /** `keys/` and an id. */
  readonly resource: string;
  readonly changes: readonly FieldChange[];
}

/** Refusals that were alike. */
export interface RefusalRow {
  /** A UUID; the same one again is no other. */
  readonly id: string;
  readonly actor: Actor;
  readonly tenantId: string | null;
  readonly action: string;
  readonly resource: string;
  readonly requestId: string;
  readonly reason: string;
  readonly detail: string;
  readonly address: string;
  readonly count: bigint;
  readonly firstTime: Date;
  readonly lastTime: Date;
}

/** A record as it is kept. */
export interface AuditRow {
  readonly id: string;
  readonly time: Date;
  /** Time and id, by which records are ordered. */
  readonly place: readonly [string, string];
  readonly tenantId: string | null;
  readonly actor: Actor;
  readonly action: string;
  readonly resource: string;
  readonly requestId: string;
  readonly changes: readonly FieldChange[];
  readonly refusal:
    | {
        readonly reason: string;
        readonly detail: string;
        readonly count: bigint;
        readonly lastTime: Date;
        readonly address: string;
      }
    | undefined;
}

/** Which records are asked for; empty and undefined: any. */
export interface AuditFilter {
  readonly startTimeMs: number;
  /** The first moment behind it. */
  readonly endTimeMs: number;
  readonly tenantId: string;
  readonly actor: string;
  /** `keys.rotate`, or `keys.*`. */
  readonly action: string;
  readonly resource: string;
  readonly isRefused: boolean | undefined;
  /** The place of the last record of the page before; empty: this is the first page. */
  readonly after: readonly string[];
}

/** The audit log. Failures are WeirError STORE_UNAVAILABLE. */
export interface AuditStore {
  /** The newest first. @returns one more than asked for when there are more */
  list(by: Confinement, filter: AuditFilter, countMax: number): Promise<readonly AuditRow[]>;
  /** Idempotent. */
  addRefusals(refusals: readonly RefusalRow[]): Promise<void>;
  /** Deletes records older than 400 days, which is as long as the database keeps them. @returns how many */
  sweep(countMax: number): Promise<number>;
}

/** Writes down a change in the transaction that makes it, so that neither is there without the other. */
export async function recordDeed(client: ClientBase, by: Confinement, deed: Deed): Promise<void> {
  const { kind, key, user, role, tenant } = actorOf(by);
  await client.query(
    `insert into audit_records (audit_record_id, time, tenant_id, actor_kind, actor_key, actor_user, actor_role, actor_tenant,
       action, resource, request_id, changes)
     values ($1, clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      randomUUIDv7(),
      deed.tenantId,
      kind,
      key,
      user,
      role,
      tenant,
      deed.action,
      deed.resource,
      by.requestId,
      JSON.stringify(deed.changes),
    ],
  );
}

export function actorOf({ principal }: Confinement): Actor {
  const { key, accountUser, role, tenant } = principal;
  const kind = key === operatorKey ? "operator" : "caller";
  return { kind, key, user: accountUser, role: role === Role.UNSPECIFIED ? "member" : roleWord(role), tenant };
}

/**
 * What differs between two states of a resource, by field. Pure.
 * @param before undefined: it is new
 * @param after undefined: it is gone
 */
export function changesBetween(
  before: Readonly<Record<string, unknown>> | undefined,
  after: Readonly<Record<string, unknown>> | undefined,
): readonly FieldChange[] {
  const fields = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return [...fields].flatMap((field) => {
    const change = { field, before: valueText(before?.[field]), after: valueText(after?.[field]) };
    return change.before === change.after ? [] : [change];
  });
}

const valueLengthMax = 4_096;

/** Empty for what says nothing: absent, null, and what is empty itself. */
function valueText(value: unknown): string {
  if (value === undefined || value === null || value === "" || value === false) return "";
  const text = JSON.stringify(value);
  return text === "{}" || text === "[]" ? "" : text.slice(0, valueLengthMax).toWellFormed();
}

export function createAuditStore(database: Database): AuditStore {
  return {
    async list(by, filter, countMax) {
      const { conditions, values } = conditionsOf(filter);
      const rows = await rowsFor(database, by).transaction(async (client) => {
        const found = await client.query<Row>(
          `select *, to_char(time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as place from audit_records
           where ${conditions.join(" and ")} order by time desc, audit_record_id desc limit ${countMax + 1}`,
          values,
        );
        return found.rows;
      });
      return rows.map(fromRow);
    },
    addRefusals: (refusals) =>
      database.transaction(async (client) => {
        for (const refusal of refusals) await insertRefusal(client, refusal);
      }),
    sweep: (countMax) =>
      database.asOwner(async (client) => {
        const { rowCount } = await client.query(
          `delete from audit_records where audit_record_id in (
             select audit_record_id from audit_records where record_time < now() - interval '400 days'
               and time < now() - interval '400 days' order by time limit $1)`,
          [countMax],
        );
        return rowCount ?? 0;
      }),
  };
}

async function insertRefusal(client: ClientBase, refusal: RefusalRow): Promise<void> {
  const { actor } = refusal;
  await client.query({
    name: "refusal",
    text: `insert into audit_records (audit_record_id, time, tenant_id, actor_kind, actor_key, actor_user, actor_role,
        actor_tenant, action, resource, request_id, refusal_reason, refusal_detail, refusal_count, refusal_last_time,
        refusal_address)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) on conflict do nothing`,
    values: [
      refusal.id,
      refusal.firstTime,
      refusal.tenantId,
      actor.kind,
      actor.key,
      actor.user,
      actor.role,
      actor.tenant,
      refusal.action,
      refusal.resource,
      refusal.requestId,
      refusal.reason,
      refusal.detail,
      String(refusal.count),
      refusal.lastTime,
      refusal.address,
    ],
  });
}

function conditionsOf(filter: AuditFilter): { readonly conditions: readonly string[]; readonly values: unknown[] } {
  const values: unknown[] = [];
  const value = (given: unknown) => `$${values.push(given)}`;
  const conditions = [`time >= ${value(new Date(filter.startTimeMs))}`, `time < ${value(new Date(filter.endTimeMs))}`];
  if (filter.tenantId !== "") conditions.push(`tenant_id = ${value(filter.tenantId)}`);
  if (filter.actor !== "") conditions.push(`actor_key = ${value(filter.actor)}`);
  if (filter.action.endsWith(".*")) conditions.push(`starts_with(action, ${value(filter.action.slice(0, -1))})`);
  else if (filter.action !== "") conditions.push(`action = ${value(filter.action)}`);
  if (filter.resource !== "") conditions.push(`resource = ${value(filter.resource)}`);
  if (filter.isRefused !== undefined) conditions.push(`refusal_reason is ${filter.isRefused ? "not null" : "null"}`);
  const [time, id] = filter.after;
  if (time !== undefined && id !== undefined) {
    conditions.push(`(time, audit_record_id) < (${value(time)}::timestamptz, ${value(id)}::uuid)`);
  }
  return { conditions, values };
}

interface Row {
  readonly audit_record_id: string;
  readonly time: Date;
  readonly place: string;
  readonly tenant_id: string | null;
  readonly actor_kind: Actor["kind"];
  readonly actor_key: string;
  readonly actor_user: string;
  readonly actor_role: Actor["role"];
  readonly actor_tenant: string;
  readonly action: string;
  readonly resource: string;
  readonly request_id: string;
  readonly changes: readonly FieldChange[];
  readonly refusal_reason: string | null;
  readonly refusal_detail: string | null;
  readonly refusal_count: string | null;
  readonly refusal_last_time: Date | null;
  readonly refusal_address: string | null;
}

function fromRow(row: Row): AuditRow {
  return {
    id: row.audit_record_id,
    time: row.time,
    place: [row.place, row.audit_record_id],
    tenantId: row.tenant_id,
    actor: {
      kind: row.actor_kind,
      key: row.actor_key,
      user: row.actor_user,
      role: row.actor_role,
      tenant: row.actor_tenant,
    },
    action: row.action,
    resource: row.resource,
    requestId: row.request_id,
    changes: row.changes,
    refusal:
      row.refusal_reason === null
        ? undefined
        : {
            reason: row.refusal_reason,
            detail: row.refusal_detail ?? "",
            count: BigInt(row.refusal_count ?? 1),
            lastTime: row.refusal_last_time ?? row.time,
            address: row.refusal_address ?? "",
          },
  };
}
