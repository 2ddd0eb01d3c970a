import { durationMs, type Duration } from "@bufbuild/protobuf/wkt";
import type { ResponsesConfig } from "@weir/gen/weir/config/v1/edge_pb";

/** What an operator may set of responses that clients come back for. */
export interface ResponsesSettings {
  /** Whether any is stored from now on. */
  readonly store: boolean;
  /** How long a response is kept. */
  readonly timeToLiveMs: number;
  /** Most bytes of a response and its input together that are kept. */
  readonly bytesMax: number;
  /** Responses made in the background at once. */
  readonly backgroundMax: number;
  /** Longest time for one of them, over all attempts. */
  readonly backgroundTimeoutMs: number;
  /** How long one of them outlives this process. */
  readonly leaseMs: number;
}

const dayMs = 86_400_000;
const defaults = {
  store: true,
  timeToLiveMs: 30 * dayMs,
  bytesMax: 16 * 1024 * 1024,
  backgroundMax: 256,
  backgroundTimeoutMs: 3_600_000,
  leaseMs: 15_000,
} as const;

/** Settings from the section `edge.responses`, with the defaults that its proto documents. */
export function responsesSettings(config?: ResponsesConfig): ResponsesSettings {
  return {
    store: config?.store ?? defaults.store,
    timeToLiveMs: milliseconds(config?.timeToLive, defaults.timeToLiveMs),
    bytesMax: config?.bytesMax ?? defaults.bytesMax,
    backgroundMax: config?.backgroundMax ?? defaults.backgroundMax,
    backgroundTimeoutMs: milliseconds(config?.backgroundTimeout, defaults.backgroundTimeoutMs),
    leaseMs: milliseconds(config?.lease, defaults.leaseMs),
  };
}

function milliseconds(duration: Duration | undefined, byDefault: number): number {
  return duration === undefined ? byDefault : durationMs(duration);
}
