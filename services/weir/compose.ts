import type { ServiceName, Settings } from "./settings.ts";

/** Services that run in this process. */
export interface RunningServices {
  /** Base URL of the edge without `/v1`: `http://127.0.0.1:8787`; undefined when the edge is not among them. */
  readonly url: string | undefined;
  /** Where other processes call in, with the port that was really taken; undefined when they cannot. */
  readonly address: string | undefined;
  /**
   * Takes no new work, finishes what is open, writes what is pending, and closes. Safe to call twice.
   * @param timeoutMs for open requests; default: from weir.yaml (30 s)
   */
  drain(timeoutMs?: number): Promise<void>;
  /** Closes at once; open calls fail. */
  close(): Promise<void>;
}

/** Starts services in this process; the others are reached as `settings.peers` says. */
export type StartServices = (set: readonly ServiceName[], settings: Settings) => Promise<RunningServices>;
