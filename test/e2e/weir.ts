import type { Simulator } from "@weir/simulator/simulator";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { LedgerReader } from "../ledger.ts";

/** A whole gateway that runs, however its services are spread over processes. */
export interface Weir {
  /** Base URL without `/v1`. */
  readonly url: string;
  /** A key that may call every model. */
  readonly key: string;
  /** The provider behind every target that works. */
  readonly simulatorUrl: string;
  readonly simulator: Simulator;
  readonly ledger: LedgerReader;
  /** @param role default: a member */
  createKey(scope?: KeyScope, role?: Role): Promise<{ readonly id: string; readonly secret: string }>;
  revokeKey(id: string): Promise<void>;
  /** Everything that any process has logged or printed so far. */
  output(): string;
  /** Processes that can be killed, by name. */
  readonly processes: readonly string[];
  /** Ids of the processes that run now. */
  pids(): readonly number[];
  /** Ids of the processes as they were when the gateway had started. */
  readonly startPids: readonly number[];
  /** Ends a process with SIGKILL. Its supervisor starts it again. */
  kill(name: string): void;
  /** Resolves when requests are answered again. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

export interface KeyScope {
  readonly models?: readonly string[];
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
}
