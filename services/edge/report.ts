import type { Span } from "@opentelemetry/api";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { endSpan } from "@weir/kit/telemetry/trace-context";
import { CallCancelled, reasonWord, type WeirError } from "@weir/kit/weir-error";
import type { Caller } from "./auth/caller.ts";
import { isRefusal, type Refusals } from "./auth/refusals.ts";
import type { Measures } from "./measures.ts";
import type { RequestRecords } from "./request-records.ts";

/** A request that is over, whatever it spoke. */
export interface Outcome {
  readonly id: string;
  readonly method: string;
  /** The path as metrics and spans name it. */
  readonly label: string;
  /** Of HTTP; 499 when the client left before the answer began. */
  readonly status: number;
  /** Monotonic. */
  readonly startMs: number;
  /** Whether the answer left whole. */
  readonly isComplete: boolean;
  /** From the arrival until the first content of a stream; undefined: no stream, or none came. */
  readonly firstContentMs: number | undefined;
  readonly caller: Caller | undefined;
  /** Why the answer is an error, if it is one. */
  readonly failure: WeirError | undefined;
  /** What was thrown, when it was no WeirError. */
  readonly defect: unknown;
  readonly span: Span | undefined;
  /** What was called, as the audit log names it: an endpoint, or an endpoint and a verb; `none` where nothing answers. */
  readonly action: string;
  /** Where it came from, as `sourceOf` has it. Only asked for when it was refused. */
  readonly source: () => string;
}

/** What is counted when the client left before its answer began. */
export const clientLeft = 499;

/** Counts, logs and records requests, ends their spans and tells of refusals, behind every door alike. */
export function createReport(deps: {
  readonly measures: Measures;
  readonly log: Log;
  readonly clock: Clock;
  readonly refusals: Pick<Refusals, "tell">;
  readonly records: Pick<RequestRecords, "tell">;
}): (outcome: Outcome) => void {
  const { measures, log, clock, refusals, records } = deps;
  return (outcome) => {
    const { id, method, label, status, failure, caller } = outcome;
    const seconds = (clock.monotonic() - outcome.startMs) / 1_000;
    measures.answered(label, method, status, seconds);
    endSpan(
      outcome.span,
      { "http.request.method": method, "http.route": label, "http.response.status_code": status },
      errorOf(outcome),
    );
    if (failure !== undefined && isRefusal(failure)) {
      refusals.tell({ failure, caller, action: outcome.action, source: outcome.source(), requestId: id });
    }
    records.tell(outcome);
    const facts = {
      requestId: id,
      method,
      route: label,
      status,
      seconds: Math.round(seconds * 1_000) / 1_000,
      complete: outcome.isComplete,
      key: caller?.id,
      tenant: caller?.tenant,
      reason: failure === undefined ? undefined : reasonWord(failure.reason),
    };
    if (failure === undefined || failure.row.openai.status < 500) log.debug(facts, "request");
    else if (failure.reason !== ErrorReason.INTERNAL) log.warn({ ...facts, text: failure.message }, "request failed");
    else log.error({ ...facts, error: outcome.defect ?? failure }, "request failed");
  };
}

/** What went wrong, as a span tells it: a refusal that the client got whole is no failure. */
function errorOf({ isComplete, failure }: Outcome): Error | undefined {
  if (failure !== undefined && failure.row.openai.status >= 500) return failure;
  return isComplete ? undefined : (failure ?? new CallCancelled());
}
