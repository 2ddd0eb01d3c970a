import type { Meter } from "@opentelemetry/api";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { RequestRecord, RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { reasonWord, WeirError } from "@weir/kit/weir-error";
import { createBehindRequests } from "./behind-requests.ts";
import type { Outcome } from "./report.ts";

/**
 * What clients met with, on its way to analysts: a record of each request of a known caller, sent in batches behind the requests. No
 * part of the ledger: while metering is away so many are kept, and later ones are dropped and counted.
 */
export interface RequestRecords {
  /** Takes a request that is over; of one without a caller nothing is kept. */
  tell(outcome: Outcome): void;
  /** Sends what there is, once more. Never rejects. */
  close(): Promise<void>;
}

export interface RequestRecordsDeps {
  readonly requests: Pick<Client<typeof RequestService>, "recordRequests">;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly log: Log;
}

/** Records that wait at most: a minute of 300 requests a second, some 5 MB. */
const waitingMax = 20_000;
/** Those of a call. */
const batchMax = 1_000;
const intervalMs = 1_000;
const callTimeoutMs = 5_000;

export function createRequestRecords({ requests, clock, meter, log }: RequestRecordsDeps): RequestRecords {
  const dropped = meter.createCounter("edge_request_records_dropped", {
    description: "Requests that analysts will not find, since metering took no records for long, or refused them.",
  });
  const waiting: RequestRecord[] = [];
  const behind = createBehindRequests({
    intervalMs,
    isWaiting: () => waiting.length > 0,
    sendAll,
    awayText: "requests cannot be told to metering; so many are kept until they can",
    clock,
    log,
  });

  async function sendAll(): Promise<void> {
    while (waiting.length > 0) {
      const records = waiting.slice(0, batchMax);
      await requests.recordRequests({ records }, { timeoutMs: callTimeoutMs }).catch((error: unknown) => {
        // Asked again, metering would say the same, and nothing behind them would ever be told.
        if (!(error instanceof WeirError) || error.reason !== ErrorReason.INVALID_REQUEST) throw error;
        dropped.add(records.length);
        log.error({ error, count: records.length }, "metering refuses records of requests");
      });
      waiting.splice(0, records.length);
    }
  }

  return {
    tell(outcome) {
      const { caller } = outcome;
      if (caller === undefined) return;
      if (waiting.length >= waitingMax) {
        dropped.add(1);
        return;
      }
      waiting.push(recordOf(outcome, caller.tenant, caller.id, clock));
      behind.schedule();
    },
    close: () => behind.close(),
  };
}

/** Written out, since making a message of parts costs several times as much. */
function recordOf(outcome: Outcome, tenant: string, key: string, clock: Clock): RequestRecord {
  const durationMs = clock.monotonic() - outcome.startMs;
  const startMs = Math.trunc(clock.now() - durationMs);
  const seconds = Math.floor(startMs / 1_000);
  const record: RequestRecord = {
    $typeName: "weir.metering.v1.RequestRecord",
    requestId: outcome.id,
    startTime: {
      $typeName: "google.protobuf.Timestamp",
      seconds: BigInt(seconds),
      nanos: (startMs - seconds * 1_000) * 1e6,
    },
    tenant,
    key,
    method: outcome.method,
    route: outcome.label,
    status: outcome.status,
    complete: outcome.isComplete,
    reason: outcome.failure === undefined ? "" : reasonWord(outcome.failure.reason).toLowerCase(),
    durationUs: BigInt(Math.round(durationMs * 1_000)),
  };
  if (outcome.firstContentMs !== undefined) record.firstContentUs = BigInt(Math.round(outcome.firstContentMs * 1_000));
  return record;
}
