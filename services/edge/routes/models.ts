import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Route, RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { KeyedCall } from "./route.ts";

export interface ModelsDeps {
  readonly routes: Pick<Client<typeof RouteService>, "listRoutes">;
  readonly clock: Clock;
}

/** A model as OpenAI lists it: https://platform.openai.com/docs/api-reference/models/object */
interface Model {
  readonly id: string;
  readonly object: "model";
  /** Seconds since 1970. */
  readonly created: number;
  readonly owned_by: string;
}

/** How long a list of routes is used again. */
const cacheMs = 1_000;
const timeoutMs = 5_000;
const jsonHeaders = ["content-type", "application/json; charset=utf-8"];

/** Answers `GET /v1/models` and `GET /v1/models/{id}`, each with what the key may call. */
export function createModels({ routes, clock }: ModelsDeps) {
  let latest: { readonly atMs: number; readonly routes: Promise<readonly Route[]> } | undefined;

  function allRoutes(): Promise<readonly Route[]> {
    const nowMs = clock.monotonic();
    if (latest !== undefined && nowMs - latest.atMs < cacheMs) return latest.routes;
    const asked = { atMs: nowMs, routes: routes.listRoutes({}, { timeoutMs }).then((answer) => answer.routes) };
    latest = asked;
    asked.routes.catch(() => {
      if (latest === asked) latest = undefined;
    });
    return asked.routes;
  }

  return {
    async list({ exchange, caller }: KeyedCall): Promise<void> {
      const data: Model[] = [];
      for (const route of await allRoutes()) {
        // A pattern is no name that anybody could send.
        if (!route.alias.endsWith("*") && caller.mayCall(route.alias)) data.push(modelOf(route.alias, route));
      }
      exchange.answer(200, jsonHeaders, JSON.stringify({ object: "list", data }));
    },
    async get({ exchange, caller, params }: KeyedCall): Promise<void> {
      const id = params["id"] ?? "";
      const route = caller.mayCall(id) ? findRoute(await allRoutes(), id) : undefined;
      if (route === undefined) throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model: id } });
      exchange.answer(200, jsonHeaders, JSON.stringify(modelOf(id, route)));
    },
  };
}

/** The route of a name: its own, else that of the longest pattern that it fits. */
export function findRoute(routes: readonly Route[], id: string): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    const { alias } = route;
    if (alias === id) return route;
    const isPattern = alias.endsWith("*") && id.startsWith(alias.slice(0, -1));
    if (isPattern && alias.length > (best?.alias.length ?? 0)) best = route;
  }
  return best;
}

function modelOf(id: string, route: Route): Model {
  const created = route.createTime === undefined ? 0 : Math.floor(timestampMs(route.createTime) / 1_000);
  return { id, object: "model", created, owned_by: route.targets[0]?.provider ?? "weir" };
}
