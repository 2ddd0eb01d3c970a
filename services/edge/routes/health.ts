import { timestampDate } from "@bufbuild/protobuf/wkt";
import { CircuitState, type RouteService, type TargetHealth } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { OpenCall } from "./route.ts";

/** Something that the process needs, as its own checks see it. Public: no addresses, no secrets. */
export interface DependencyHealth {
  /** `accounts`, `journal`, `nats`. */
  readonly name: string;
  readonly status: "up" | "down" | "degraded";
  /** One sentence for the operator. */
  readonly detail?: string;
}

export interface HealthDeps {
  readonly routes: Pick<Client<typeof RouteService>, "listRoutes" | "listTargetHealth">;
  readonly dependencies: () => readonly DependencyHealth[];
  readonly clock: Clock;
  readonly version: string;
  readonly isDraining: () => boolean;
  /** Whether keys can be judged. */
  readonly isLoaded: () => boolean;
  /** Whether news of keys is recent. */
  readonly isFresh: () => boolean;
}

/** Targets are asked for at most so often. */
const cacheMs = 1_000;
const timeoutMs = 500;
const jsonHeaders = ["content-type", "application/json; charset=utf-8", "cache-control", "no-store"];

const circuitWords: Readonly<Record<CircuitState, string>> = {
  [CircuitState.UNSPECIFIED]: "unknown",
  [CircuitState.CLOSED]: "closed",
  [CircuitState.OPEN]: "open",
  [CircuitState.HALF_OPEN]: "half_open",
};

/** Answers the health checks. */
export function createHealth(deps: HealthDeps) {
  const startMs = deps.clock.monotonic();
  let latest: { readonly atMs: number; readonly known: Promise<Known | undefined> } | undefined;

  /** Undefined: the router does not say. */
  function ask(): Promise<Known | undefined> {
    const nowMs = deps.clock.monotonic();
    if (latest === undefined || nowMs - latest.atMs >= cacheMs) {
      const answers = Promise.all([
        deps.routes.listRoutes({}, { timeoutMs }),
        deps.routes.listTargetHealth({}, { timeoutMs }),
      ]);
      const known = answers.then(
        ([{ routes }, { targets }]) => ({
          providers: new Set(routes.flatMap((route) => route.targets.map((target) => target.provider))),
          targets,
        }),
        () => undefined,
      );
      latest = { atMs: nowMs, known };
    }
    return latest.known;
  }

  /** Whether requests should come here. */
  function readiness(): "ready" | "starting" | "draining" {
    if (deps.isDraining()) return "draining";
    return deps.isLoaded() ? "ready" : "starting";
  }

  return {
    /** The process answers. */
    live({ exchange }: OpenCall): void {
      exchange.answer(200, jsonHeaders, JSON.stringify({ status: "ok" }));
    },
    /** 200 while requests should come here, otherwise 503. */
    ready({ exchange }: OpenCall): void {
      const status = readiness();
      exchange.answer(status === "ready" ? 200 : 503, jsonHeaders, JSON.stringify({ status }));
    },
    /** How everything is. Always 200: it is for people and dashboards. */
    async all({ exchange }: OpenCall): Promise<void> {
      const known = await ask();
      const dependencies: DependencyHealth[] = [
        { name: "keys", status: deps.isFresh() ? "up" : deps.isLoaded() ? "degraded" : "down" },
        { name: "router", status: known === undefined ? "down" : "up" },
        ...deps.dependencies(),
      ];
      const ready = readiness();
      const well = dependencies.every((dependency) => dependency.status === "up");
      const health = {
        status: ready === "ready" ? (well ? "ok" : "degraded") : ready,
        version: deps.version,
        uptime_seconds: Math.floor((deps.clock.monotonic() - startMs) / 1_000),
        providers: known === undefined ? [] : providersOf(known),
        dependencies,
      };
      exchange.answer(200, jsonHeaders, JSON.stringify(health));
    },
  };
}

/** What the router says. */
interface Known {
  /** Those that routes lead to. */
  readonly providers: ReadonlySet<string>;
  /** Those that were called lately. */
  readonly targets: readonly TargetHealth[];
}

/** Every provider, with those of its models that were called lately. */
function providersOf({ providers, targets }: Known) {
  const byProvider = new Map<string, object[]>(Array.from(providers, (name) => [name, []]));
  for (const { target, state, consecutiveFailures, retryTime } of targets) {
    if (target === undefined) continue;
    const models = byProvider.get(target.provider) ?? [];
    byProvider.set(target.provider, models);
    models.push({
      model: target.model,
      circuit: circuitWords[state] ?? "unknown",
      consecutive_failures: consecutiveFailures,
      ...(retryTime === undefined ? {} : { retry_time: timestampDate(retryTime).toISOString() }),
    });
  }
  return [...byProvider].map(([name, models]) => ({ name, models }));
}
