import type { LocalConfig } from "@weir/gen/weir/config/v1/provider_pb";
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";

/** A server of models inside this process. What runs them is heavy and optional, so that only this is known of it at start. */
export interface ModelServer {
  /** Base URL of a provider's models, as clients of OpenAI's dialects want it: up to and with the version. */
  baseUrl(provider: string): string;
  /** The key of every call. Known to this process alone. */
  readonly token: string;
  /**
   * Makes ready for another set of providers, by id; the models of those that stay as they are stay in memory.
   * @returns what puts it into force
   * @throws ConfigError with a fault for each file that cannot be used
   */
  prepare(providers: ReadonlyMap<string, LocalConfig>): Promise<() => void>;
  /** Cancels what runs and gives the memory back. */
  close(): Promise<void>;
}

/** @throws Error when what runs the models cannot be loaded on this machine */
export type StartModelServer = (options: { readonly clock: Clock; readonly log: Log }) => Promise<ModelServer>;
