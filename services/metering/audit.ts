import { create } from "@bufbuild/protobuf";
import { timestampFromDate, timestampMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AuditActor,
  AuditActorKind,
  AuditActorSchema,
  AuditOutcome,
  AuditRecordSchema,
  type AuditService,
  type Refusal,
} from "@weir/gen/weir/account/v1/audit_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { Clock } from "@weir/kit/clock";
import type { Actor, AuditRow, AuditStore, RefusalRow } from "./audit-store.ts";
import { confinementOf } from "./confinement.ts";
import { writePageToken } from "./page-token.ts";
import { roleOf, roleWord } from "./role-words.ts";
import { readRange } from "./usage-question.ts";

const pageSizeDefault = 100;
const pageSizeMax = 1_000;

/** The database tells the time of a record, and its clock may be ahead of this one. */
const clockSkewMs = 60_000;

export function createAudit({
  store,
  clock,
}: {
  readonly store: AuditStore;
  readonly clock: Clock;
}): ServiceImpl<typeof AuditService> {
  return {
    async listAuditRecords(request, context) {
      const by = confinementOf(context);
      const { actor, action, resource, outcome } = request;
      const tenantId = request.tenant.replace(/^tenants\//, "");
      const question = ["audit", tenantId, actor, action, resource, outcome];
      const range = readRange(request, question, ["time", "uuid"], clock.now() + clockSkewMs);
      const countMax = Math.min(request.pageSize || pageSizeDefault, pageSizeMax);
      const isRefused = outcome === AuditOutcome.UNSPECIFIED ? undefined : outcome === AuditOutcome.REFUSED;
      const found = await store.list(by, { ...range, tenantId, actor, action, resource, isRefused }, countMax);
      const last = found[countMax - 1];
      return {
        auditRecords: found.slice(0, countMax).map(toProtoRecord),
        nextPageToken:
          found.length > countMax && last !== undefined
            ? writePageToken({ ...range, after: last.place }, question)
            : "",
      };
    },

    async recordRefusals({ refusals }) {
      await store.addRefusals(refusals.map((refusal) => fromProtoRefusal(refusal, clock.now())));
      return {};
    },
  };
}

/** An edge's clock may be ahead; a record of times to come would stand before all others for ever. */
function fromProtoRefusal(refusal: Refusal, nowMs: number): RefusalRow {
  const actor = fromProtoActor(refusal.actor);
  const timeOf = (time: Refusal["firstTime"]) =>
    new Date(Math.min(nowMs, time === undefined ? nowMs : timestampMs(time)));
  return {
    id: refusal.refusalId,
    actor,
    tenantId: actor.tenant === "" ? null : actor.tenant,
    action: plain(refusal.action),
    resource: "",
    requestId: plain(refusal.requestId),
    reason: plain(refusal.reason),
    detail: plain(refusal.detail),
    address: plain(refusal.address),
    count: refusal.count,
    firstTime: timeOf(refusal.firstTime),
    lastTime: timeOf(refusal.lastTime),
  };
}

/** Postgres holds neither NUL nor half of a pair of surrogates. */
function plain(text: string): string {
  return text.replaceAll("\0", "").toWellFormed();
}

const kinds = {
  caller: AuditActorKind.CALLER,
  operator: AuditActorKind.OPERATOR,
  unknown: AuditActorKind.UNKNOWN,
} as const;

function fromProtoActor(actor: AuditActor | undefined): Actor {
  if (actor === undefined || actor.kind !== AuditActorKind.CALLER) {
    return { kind: "unknown", key: "", user: "", role: "", tenant: "" };
  }
  const { key, user, role, tenant } = actor;
  return { kind: "caller", key: plain(key), user: plain(user), role: roleWord(role), tenant: plain(tenant) };
}

function toProtoRecord(row: AuditRow) {
  const { actor, refusal } = row;
  return create(AuditRecordSchema, {
    auditRecordId: row.id,
    time: timestampFromDate(row.time),
    tenant: row.tenantId === null ? "" : `tenants/${row.tenantId}`,
    actor: create(AuditActorSchema, {
      kind: kinds[actor.kind],
      key: actor.key,
      user: actor.user,
      role: actor.role === "" ? Role.UNSPECIFIED : roleOf(actor.role),
      tenant: actor.tenant,
    }),
    action: row.action,
    resource: row.resource,
    requestId: row.requestId,
    changes: [...row.changes],
    ...(refusal && {
      refusal: {
        reason: refusal.reason,
        detail: refusal.detail,
        count: refusal.count,
        lastTime: timestampFromDate(refusal.lastTime),
        address: refusal.address,
      },
    }),
  });
}
