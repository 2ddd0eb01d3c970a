import { randomUUIDv7 } from "node:crypto";
import { type DescService, getOption } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { access, Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { actionOf } from "@weir/kit/action";
import { metadataNames, requestMetadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { operatorKey } from "@weir/kit/operator";
import { reasonWord, WeirError } from "@weir/kit/weir-error";
import { type Actor, actorOf, type AuditStore, type RefusalRow } from "./audit-store.ts";
import { principalOf } from "./confinement.ts";

/** Calls that this service refuses, on their way to the audit log: what is alike is counted for a second, then written. */
export interface RefusedCalls {
  /** The same implementation, whose refusals are counted. */
  watch<S extends DescService>(service: S, implementation: ServiceImpl<S>): ServiceImpl<S>;
  /** Writes what there is. Never rejects. */
  close(): Promise<void>;
}

const intervalMs = 1_000;
/** Kinds that are counted at once; what comes beyond them in one second is counted without its resource and its caller. */
const kindsMax = 1_000;

interface Count {
  readonly row: Omit<RefusalRow, "count" | "lastTime">;
  lastMs: number;
  count: bigint;
}

export function createRefusedCalls({
  store,
  clock,
  log,
}: {
  readonly store: Pick<AuditStore, "addRefusals">;
  readonly clock: Clock;
  readonly log: Log;
}): RefusedCalls {
  let counts = new Map<string, Count>();
  let writing: Promise<void> | undefined;
  let cancelTimer: (() => void) | undefined;

  function write(): Promise<void> {
    cancelTimer?.();
    cancelTimer = undefined;
    const rows = [...counts.values()].map(({ row, lastMs, count }) => ({ ...row, count, lastTime: new Date(lastMs) }));
    counts = new Map();
    writing = (writing ?? Promise.resolve())
      .then(() => (rows.length === 0 ? undefined : store.addRefusals(rows)))
      .catch((error: unknown) => log.error({ error, count: rows.length }, "refusals could not be written down"));
    return writing;
  }

  function tell(context: HandlerContext, request: unknown, failure: WeirError): void {
    const { permission } = getOption(context.method, access);
    if (permission === Permission.MESH) return;
    const principal = principalOf(context);
    // What an operator looks for and does not find was kept from nobody.
    const isHidden = failure.reason === ErrorReason.NOT_FOUND && principal?.everyTenant === false;
    if (failure.reason !== ErrorReason.FORBIDDEN && !isHidden) return;
    const requestId = requestMetadata(context, metadataNames.requestId)?.slice(0, 128) ?? "";
    const actor =
      principal === undefined ? nobody : actorOf({ principal, tenant: undefined, key: undefined, requestId });
    const { permission: lacking, param } = failure.metadata;
    count({
      actor,
      tenantId:
        principal === undefined || principal.tenant === "" || principal.key === operatorKey ? null : principal.tenant,
      action: actionOf(context.method),
      resource: nameIn(request),
      reason: reasonWord(failure.reason),
      detail: lacking ?? param ?? "",
      requestId,
    });
  }

  function count(
    refused: Pick<RefusalRow, "actor" | "tenantId" | "action" | "resource" | "reason" | "detail" | "requestId">,
  ) {
    const { actor, action, resource, reason, detail } = refused;
    const full = JSON.stringify([actor.key, actor.user, actor.tenant, action, resource, reason, detail]);
    const isRoom = counts.has(full) || counts.size < kindsMax;
    const [kind, row] = isRoom
      ? [full, refused]
      : [`${action} ${reason}`, { ...refused, actor: nobody, tenantId: null, resource: "", detail: "" }];
    const nowMs = clock.now();
    const known = counts.get(kind);
    if (known === undefined) {
      counts.set(kind, {
        row: { ...row, id: randomUUIDv7(), address: "", firstTime: new Date(nowMs) },
        lastMs: nowMs,
        count: 1n,
      });
    } else {
      known.lastMs = nowMs;
      known.count += 1n;
    }
    cancelTimer ??= clock.after(intervalMs, () => void write());
  }

  type Method = (request: unknown, context: HandlerContext) => unknown;

  return {
    watch<S extends DescService>(service: S, implementation: ServiceImpl<S>): ServiceImpl<S> {
      const methods = implementation as Readonly<Record<string, Method>>;
      const watched = service.methods.map(({ localName, methodKind }) => {
        const method = methods[localName] as Method;
        const call: Method = async (request, context) => {
          try {
            return await method(request, context);
          } catch (thrown) {
            if (thrown instanceof WeirError) tell(context, request, thrown);
            throw thrown;
          }
        };
        return [localName, methodKind === "unary" ? call : method];
      });
      return Object.fromEntries(watched) as ServiceImpl<S>;
    },
    close: write,
  };
}

const nobody: Actor = { kind: "unknown", key: "", user: "", role: "", tenant: "" };
const nameLengthMax = 256;

/** What a request names, in its own words, which rules have bounded; a tenant stands for what was to be made in it. */
function nameIn(request: unknown): string {
  const { name, tenant } = request as { readonly name?: unknown; readonly tenant?: unknown };
  const text = typeof name === "string" ? name : typeof tenant === "string" ? tenant : "";
  return text.slice(0, nameLengthMax).replaceAll("\0", "").toWellFormed();
}
