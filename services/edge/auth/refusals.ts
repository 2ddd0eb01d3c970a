import { randomUUID } from "node:crypto";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  AuditActorKind,
  AuditActorSchema,
  type AuditService,
  type RefusalSchema,
} from "@weir/gen/weir/account/v1/audit_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { reasonWord, type WeirError } from "@weir/kit/weir-error";
import { createBehindRequests } from "../behind-requests.ts";
import { CallerRefused, type KnownCaller } from "./refused-caller.ts";

/** A request that was refused. */
export interface Refused {
  readonly failure: WeirError;
  /** Undefined: nobody that was recognised. */
  readonly caller: KnownCaller | undefined;
  /** Where it came from, as `sourceOf` has it. */
  readonly source: string;
  /** What was called, in one of few words: an endpoint, or an endpoint and a verb. */
  readonly action: string;
  readonly requestId: string;
}

/**
 * Refusals on their way to the audit log. What is alike is counted and told together, every few seconds, behind the requests.
 * While metering is away counts go on; a kind of refusal that finds no room is counted without caller and address.
 */
export interface Refusals {
  /** Counts one. */
  tell(refused: Refused): void;
  /** Kinds that are counted now. */
  readonly size: number;
  /** Tells what there is, once more. Never rejects. */
  close(): Promise<void>;
}

/** Whether a failure belongs in the audit log as a refusal, and no service writes it down itself. */
export function isRefusal(failure: WeirError): boolean {
  return failure instanceof CallerRefused || told.has(failure.reason);
}

export interface RefusalsDeps {
  readonly audit: Pick<Client<typeof AuditService>, "recordRefusals">;
  readonly clock: Clock;
  readonly log: Log;
}

/** Beside what the edge itself says of callers: of what others forbid, metering writes down its own. */
const told: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.API_KEY_INVALID,
  ErrorReason.MODEL_FORBIDDEN,
  ErrorReason.RATE_LIMITED,
  ErrorReason.BUDGET_EXHAUSTED,
]);
const intervalMs = 2_000;
const callTimeoutMs = 5_000;
/** Kinds with caller and address that are counted at once, and those that a call of RecordRefusals may have. */
const kindsMax = 1_000;

interface Count {
  readonly refused: Refused;
  readonly detail: string;
  readonly id: string;
  readonly firstMs: number;
  lastMs: number;
  count: bigint;
}

export function createRefusals({ audit, clock, log }: RefusalsDeps): Refusals {
  let counts = new Map<string, Count>();
  /** Those that were sent and of which nobody knows whether they arrived. */
  let sent: Count[] = [];
  const behind = createBehindRequests({
    intervalMs,
    isWaiting: () => counts.size > 0 || sent.length > 0,
    sendAll,
    awayText: "refusals cannot be told to the audit log; they are counted until they can",
    clock,
    log,
  });

  async function sendAll(): Promise<void> {
    if (sent.length === 0) {
      sent = [...counts.values()];
      counts = new Map();
    }
    while (sent.length > 0) {
      const refusals = sent.slice(0, kindsMax).map(toProto);
      await audit.recordRefusals({ refusals }, { timeoutMs: callTimeoutMs });
      sent = sent.slice(kindsMax);
    }
  }

  function count(refused: Refused, detail: string): void {
    const { caller, source, action, failure } = refused;
    const full = `${caller?.id ?? ""} ${source} ${action} ${failure.reason} ${detail}`;
    const known = counts.get(full);
    if (known !== undefined || counts.size < kindsMax) return add(full, known, refused, detail);
    // The routes and the reasons are few, so this ends.
    const bare = ` ${action} ${failure.reason}`;
    add(bare, counts.get(bare), { ...refused, caller: undefined, source: "" }, "");
  }

  function add(kind: string, known: Count | undefined, refused: Refused, detail: string): void {
    const nowMs = clock.now();
    if (known === undefined) {
      counts.set(kind, { refused, detail, id: randomUUID(), firstMs: nowMs, lastMs: nowMs, count: 1n });
    } else {
      known.lastMs = Math.max(known.lastMs, nowMs);
      known.count += 1n;
    }
  }

  return {
    tell(refused) {
      const { failure } = refused;
      if (failure instanceof CallerRefused) count({ ...refused, caller: failure.caller }, failure.detail);
      else count(refused, failure.metadata["limit"] ?? "");
      behind.schedule();
    },
    get size() {
      return counts.size;
    },
    close: () => behind.close(),
  };
}

function toProto({ refused, detail, id, firstMs, lastMs, count }: Count): MessageInitShape<typeof RefusalSchema> {
  const { caller, source, action, failure, requestId } = refused;
  return {
    refusalId: id,
    firstTime: timestampFromMs(Math.trunc(firstMs)),
    lastTime: timestampFromMs(Math.trunc(lastMs)),
    count,
    actor: actorOf(caller),
    action,
    reason: reasonWord(failure.reason),
    detail,
    address: source,
    requestId,
  };
}

function actorOf(caller: KnownCaller | undefined) {
  if (caller === undefined) return create(AuditActorSchema, { kind: AuditActorKind.UNKNOWN });
  const { key, accountUser, role, tenant } = fromBinary(PrincipalSchema, caller.principal);
  return create(AuditActorSchema, { kind: AuditActorKind.CALLER, key, user: accountUser, role, tenant });
}
