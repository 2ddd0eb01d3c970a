import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { Timeouts } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { AttemptTimeouts } from "./attempt-timer.ts";

const defaultTimeouts: AttemptTimeouts = {
  connectMs: 5_000,
  firstTokenMs: 120_000,
  idleMs: 60_000,
  totalMs: 600_000,
};

/** What a router asks for, and the defaults for what it does not say. */
export function readTimeouts(timeouts: Timeouts | undefined): AttemptTimeouts {
  return {
    connectMs: readMs(timeouts?.connect) ?? defaultTimeouts.connectMs,
    firstTokenMs: readMs(timeouts?.firstToken) ?? defaultTimeouts.firstTokenMs,
    idleMs: readMs(timeouts?.idle) ?? defaultTimeouts.idleMs,
    totalMs: readMs(timeouts?.total) ?? defaultTimeouts.totalMs,
  };
}

function readMs(duration: Duration | undefined): number | undefined {
  return duration && Math.max(durationMs(duration), 1);
}
