import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { ConfigError } from "@weir/kit/config/fault";
import { type ConfigStatus, watchConfig } from "@weir/kit/config/watch";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { builtInPrices, localPrice } from "@weir/price/built-in";
import { priceListFromConfig } from "@weir/price/from-config";
import type { Price, PriceList } from "@weir/price/price";
import { type CompleteConfig, completeConfig, type FoundProvider, vendorsOfEnvironment } from "./discovery.ts";
import type { Environment } from "./settings.ts";

/** What weir.yaml and the environment say now, as a whole: replaced, never changed. */
export interface Snapshot extends CompleteConfig {
  readonly prices: PriceList;
}

/** The configuration of a process. */
export interface Configuration {
  current(): Snapshot;
  /**
   * Takes part in every change from now on: called with the next snapshot before it comes into force. A throw refuses it.
   * What it returns is called once the snapshot is in force.
   */
  onChange(prepare: (next: Snapshot) => Promise<() => void> | (() => void)): void;
  status(): ConfigStatus;
  close(): void;
}

export interface ConfigurationOptions {
  /** The file weir.yaml; undefined: only what the environment says. */
  readonly path: string | undefined;
  readonly env: Environment;
  readonly clock: Clock;
  readonly log: Log;
  /** Model servers of this machine, looked for once, at start. */
  readonly local: readonly FoundProvider[];
  /** Base URL of the demo provider, where this process has one. */
  readonly demoUrl: string | undefined;
}

/**
 * Makes something out of a configuration.
 * @throws ConfigError for what the maker refuses; its texts name paths and rules, never values
 */
export function readConfig<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof ConfigError || !(error instanceof Error)) throw error;
    throw new ConfigError("weir.yaml", [{ path: "", text: error.message }]);
  }
}

function localPrices({ providers }: Config): Price[] {
  return Object.entries(providers).flatMap(([id, { kind }]) => (kind === ProviderKind.LOCAL ? [localPrice(id)] : []));
}

/** @throws ConfigError when the first configuration is not good */
export async function startConfiguration(options: ConfigurationOptions): Promise<Configuration> {
  const found = { environment: vendorsOfEnvironment(options.env), local: options.local };
  const preparations: ((next: Snapshot) => Promise<() => void> | (() => void))[] = [];
  let current: Snapshot | undefined;
  const snapshotOf = (config: Config): Snapshot => ({
    ...completeConfig(config, found, options.demoUrl),
    prices: readConfig(() => priceListFromConfig(config.prices, [...builtInPrices, ...localPrices(config)])),
  });
  const watch = await watchConfig({
    path: options.path,
    env: options.env,
    clock: options.clock,
    log: options.log,
    async apply(config) {
      const next = snapshotOf(config);
      const commits: (() => void)[] = [];
      for (const prepare of preparations) commits.push(await prepare(next));
      current = next;
      for (const commit of commits) commit();
    },
  });
  return {
    current() {
      if (current === undefined) throw new Error("the first configuration is in force before anyone asks");
      return current;
    },
    onChange: (prepare) => void preparations.push(prepare),
    status: () => watch.status(),
    close: () => watch.close(),
  };
}
