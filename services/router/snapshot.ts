import { create } from "@bufbuild/protobuf";
import { type Duration, durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import type { AliasConfig, TimeoutsConfig } from "@weir/gen/weir/config/v1/router_pb";
import { type Timeouts, TimeoutsSchema } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { type Target, TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { createCapabilityTable } from "@weir/kit/config/capabilities";
import type { PriceList } from "@weir/price/price";

/** How long to wait for a target, in milliseconds. */
export interface AttemptTimeouts {
  readonly connectMs: number;
  readonly firstTokenMs: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

/** A target that a route names in full. */
export interface RouteTarget {
  readonly provider: string;
  readonly model: string;
  /** Identity of provider and model, for maps. */
  readonly key: string;
  /** Tokens that fit into the model's context, as the configuration says or its vendor documents; undefined: not known. */
  readonly contextTokens: number | undefined;
  /** The same as a message; shared, never changed. */
  readonly message: Target;
}

/** The context of a provider's model. */
export type ContextOf = (provider: string, model: string) => number | undefined;

/** How an alias is served. */
export interface Route {
  /** As configured, with its star when it has one. */
  readonly alias: string;
  /** The first choice first. Of a route with a star, a model of "" stands for what the caller put in its place. */
  readonly targets: readonly RouteTarget[];
  readonly allowUnpriced: boolean;
  /** Attempts for one request, over all targets. */
  readonly attemptsMax: number;
  readonly timeouts: AttemptTimeouts;
  /** The same as a message; shared, never changed. */
  readonly timeoutsMessage: Timeouts;
}

/** When another attempt may follow. */
export interface RetrySettings {
  /** Retries, as a percentage of the requests of the last ten seconds. */
  readonly percent: number;
  /** Retries a second that are allowed whatever the traffic. */
  readonly perSecondMin: number;
  /** Longest wait of one request for a provider's Retry-After. */
  readonly retryAfterMaxMs: number;
}

/** Where calls go that name no model. */
export interface PassthroughRouting {
  /** The provider of an endpoint, as scopes of keys name it; undefined: nobody serves it. */
  providerOf(endpoint: string): string | undefined;
  /** How long they may take, and how often they are tried. */
  readonly route: Route;
}

/** When a circuit opens. */
export interface CircuitSettings {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** How long it stays open the first time. */
  readonly openMs: number;
}

/** All routes at one moment. Immutable: a reload makes another one. */
export interface RoutingSnapshot {
  readonly exact: ReadonlyMap<string, Route>;
  /** Routes whose alias ends in a star, by what stands before it; the longest first. */
  readonly prefixes: readonly { readonly prefix: string; readonly route: Route }[];
  /** Of calls that pass through and name no model. */
  readonly passthrough: PassthroughRouting;
  readonly contextOf: ContextOf;
  readonly prices: PriceList;
  readonly retry: RetrySettings;
  readonly circuit: CircuitSettings;
  /** When it came into force, in milliseconds since 1970. */
  readonly createTimeMs: number;
}

const timeoutDefaults: AttemptTimeouts = {
  connectMs: 5_000,
  firstTokenMs: 120_000,
  idleMs: 60_000,
  totalMs: 600_000,
};
const attemptsMaxDefault = 3;

/**
 * Routes from a configuration whose providers are complete: the found ones and their models are in it.
 * @param nowMs the moment from which the routes are in force, in milliseconds since 1970
 */
export function routingFromConfig(config: Config, prices: PriceList, nowMs: number): RoutingSnapshot {
  const { router } = config;
  const contextOf = contextsOf(config);
  const common = {
    contextOf,
    timeouts: resolveTimeouts(router?.timeouts, timeoutDefaults),
    attemptsMax: router?.attemptsMax ?? attemptsMaxDefault,
  };
  const exact = new Map<string, Route>();
  const prefixes: { prefix: string; route: Route }[] = [];
  const aliases = Object.keys(config.aliases).length > 0 ? config.aliases : defaultAliases(config, prices);
  for (const [alias, settings] of Object.entries(aliases)) {
    const route = createRoute(alias, settings, common);
    if (alias.endsWith("*")) prefixes.push({ prefix: alias.slice(0, -1), route });
    else exact.set(alias, route);
  }
  prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
  return {
    exact,
    prefixes,
    passthrough: passthroughFromConfig(config, common),
    contextOf,
    prices,
    retry: {
      percent: router?.retryPercent ?? 20,
      perSecondMin: router?.retriesPerSecondMin ?? 10,
      retryAfterMaxMs: milliseconds(router?.retryAfterMax, 2_000),
    },
    circuit: { failures: router?.circuitFailures ?? 5, openMs: milliseconds(router?.circuitOpen, 10_000) },
    createTimeMs: nowMs,
  };
}

function contextsOf({ providers }: Config): ContextOf {
  const tables = new Map(
    Object.entries(providers).map(([id, { baseUrl, capabilities }]) => [
      id,
      createCapabilityTable(URL.canParse(baseUrl) ? new URL(baseUrl).origin : "", capabilities),
    ]),
  );
  return (provider, model) => tables.get(provider)?.known(model).contextTokens;
}

function passthroughFromConfig(config: Config, common: RouteDefaults): PassthroughRouting {
  const ofKind = Object.entries(config.providers).find(([, provider]) => provider.kind === ProviderKind.OPENAI)?.[0];
  const usual = config.providers["openai"]?.kind === ProviderKind.OPENAI ? "openai" : ofKind;
  return {
    providerOf: (endpoint) => config.passthrough[endpoint] ?? usual,
    route: createRoute("", { targets: [], allowUnpriced: true, attemptsMax: undefined }, common),
  };
}

/** What of an alias the routes are made from. */
type AliasSettings = Pick<AliasConfig, "targets" | "allowUnpriced" | "timeouts" | "attemptsMax">;

/** What holds for aliases that say nothing else, and what is known of all models. */
interface RouteDefaults extends Pick<Route, "timeouts" | "attemptsMax"> {
  readonly contextOf: ContextOf;
}

function createRoute(alias: string, settings: AliasSettings, common: RouteDefaults): Route {
  const timeouts = resolveTimeouts(settings.timeouts, common.timeouts);
  const model = alias.endsWith("*") ? "" : alias;
  return {
    alias,
    targets: settings.targets.map((target) =>
      createRouteTarget(target.provider, target.model || model, common.contextOf),
    ),
    allowUnpriced: settings.allowUnpriced,
    attemptsMax: settings.attemptsMax ?? common.attemptsMax,
    timeouts,
    timeoutsMessage: timeoutsMessage(timeouts),
  };
}

export function createRouteTarget(provider: string, model: string, contextOf: ContextOf): RouteTarget {
  return {
    provider,
    model,
    // Provider ids hold no slash, so the key is unambiguous.
    key: `${provider}/${model}`,
    contextTokens: contextOf(provider, model),
    message: create(TargetSchema, { provider, model }),
  };
}

/** Timeouts as a message, none longer than the time that is left. */
export function timeoutsMessage(timeouts: AttemptTimeouts, leftMs = Infinity): Timeouts {
  const duration = (ms: number) => durationFromMs(Math.max(1, Math.floor(Math.min(ms, leftMs))));
  return create(TimeoutsSchema, {
    connect: duration(timeouts.connectMs),
    firstToken: duration(timeouts.firstTokenMs),
    idle: duration(timeouts.idleMs),
    total: duration(timeouts.totalMs),
  });
}

/**
 * The aliases of a configuration that names none: `PROVIDER/*` for every provider, and each model of the price list or
 * of a provider's own list by its name, served by every provider that has it, in the order of the configuration.
 */
function defaultAliases(config: Config, prices: PriceList): Record<string, AliasSettings> {
  const aliases = new Map<string, AliasSettings>();
  const byModel = new Map<string, Set<string>>();
  const pricedModels = Map.groupBy(prices.prices, (price) => price.provider);
  for (const [id, provider] of Object.entries(config.providers)) {
    aliases.set(`${id}/*`, defaultAlias([id], ""));
    const priced = pricedModels.get(id) ?? [];
    for (const model of [...provider.models, ...priced.map((price) => price.model)]) {
      // A name that ends in a star stands for many models.
      if (model.endsWith("*")) continue;
      const providers = byModel.get(model);
      if (providers === undefined) byModel.set(model, new Set([id]));
      else providers.add(id);
    }
  }
  for (const [model, providers] of byModel) aliases.set(model, defaultAlias([...providers], model));
  return Object.fromEntries(aliases);
}

function defaultAlias(providers: readonly string[], model: string): AliasSettings {
  const targets = providers.map((provider) => ({ provider, model })) as AliasConfig["targets"];
  return { targets, allowUnpriced: false };
}

function resolveTimeouts(config: TimeoutsConfig | undefined, defaults: AttemptTimeouts): AttemptTimeouts {
  return {
    connectMs: milliseconds(config?.connect, defaults.connectMs),
    firstTokenMs: milliseconds(config?.firstToken, defaults.firstTokenMs),
    idleMs: milliseconds(config?.idle, defaults.idleMs),
    totalMs: milliseconds(config?.total, defaults.totalMs),
  };
}

function milliseconds(duration: Duration | undefined, otherwise: number): number {
  return duration === undefined ? otherwise : durationMs(duration);
}
