import type { DependencyHealth } from "@weir/edge/service";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Mesh } from "@weir/kit/mesh";
import type { Telemetry } from "@weir/kit/telemetry/setup";
import type { Configuration } from "../configuration.ts";
import type { DataFolder } from "../data-folder.ts";
import type { Settings } from "../settings.ts";
import type { SharedLimits } from "./shared-limits.ts";

/** What every part of a process stands on. */
export interface Root {
  readonly settings: Settings;
  readonly configuration: Configuration;
  readonly mesh: Mesh;
  readonly telemetry: Telemetry;
  readonly log: Log;
  readonly clock: Clock;
  /** Limits that are shared with other processes; undefined: this one counts for itself. */
  readonly sharedLimits: SharedLimits | undefined;
  /** The data folder, made when it is first asked for: a part that keeps nothing needs none. */
  readonly folder: () => DataFolder;
  /** Secret under which API keys are hashed. */
  readonly pepper: () => Buffer;
  /** Fires when the process gives up starting, or begins to stop. */
  readonly stopping: AbortSignal;
}

/** One service in a process, with everything that it holds. */
export interface Part {
  /** State of what it needs, for /health. */
  health(): readonly DependencyHealth[];
  /** Called once the mesh has started: from now on other services can be called. */
  begin?(): void;
  /** Ends work that goes on behind requests, within the time, and closes. Called once no call can come in any more. */
  stop(timeoutMs: number): Promise<void>;
}
