import type { IncomingMessage } from "node:http";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { gemini } from "@weir/dialect/gemini/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Route as ListedRoute, RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { googleList, googleModel } from "./google-models.ts";
import { callsModels, type KeyedCall, type Route, versionedAsOpenai } from "./route.ts";

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

/** The lists of models and their single ones, as OpenAI and as Google have them, each with what the key may call. */
export function createModelRoutes({ routes, clock }: ModelsDeps): Route[] {
  let latest: { readonly atMs: number; readonly routes: Promise<readonly ListedRoute[]> } | undefined;

  function allRoutes(): Promise<readonly ListedRoute[]> {
    const nowMs = clock.monotonic();
    if (latest !== undefined && nowMs - latest.atMs < cacheMs) return latest.routes;
    const asked = { atMs: nowMs, routes: routes.listRoutes({}, { timeoutMs }).then((answer) => answer.routes) };
    latest = asked;
    asked.routes.catch(() => {
      if (latest === asked) latest = undefined;
    });
    return asked.routes;
  }

  /** What the key may call, by name. A pattern is no name that anybody could send. */
  async function callable({ caller }: KeyedCall): Promise<readonly ListedRoute[]> {
    const all = await allRoutes();
    return all.filter(({ alias }) => !alias.endsWith("*") && caller.mayCall(alias));
  }

  async function found({ caller, params }: KeyedCall): Promise<{ readonly id: string; readonly route: ListedRoute }> {
    const id = params["id"] ?? "";
    const route = caller.mayCall(id) ? findRoute(await allRoutes(), id) : undefined;
    if (route === undefined) throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model: id } });
    return { id, route };
  }

  const answer = ({ exchange }: KeyedCall, json: object) => exchange.answer(200, jsonHeaders, JSON.stringify(json));

  const asGoogle: Forms = {
    async list(call) {
      answer(call, googleList(await callable(call), call.exchange.request.url ?? ""));
    },
    async get(call) {
      answer(call, googleModel((await found(call)).id));
    },
  };
  const asOpenai: Forms = {
    async list(call) {
      const data = (await callable(call)).map((route) => openaiModel(route.alias, route));
      answer(call, { object: "list", data });
    },
    async get(call) {
      const { id, route } = await found(call);
      answer(call, openaiModel(id, route));
    },
  };
  const formsOf = ({ exchange }: KeyedCall) => (isGoogleClient(exchange.request) ? asGoogle : asOpenai);

  const shared = { method: "GET", access: callsModels("models") };
  const voice = (request: IncomingMessage) => (isGoogleClient(request) ? gemini : openaiChat);
  const plain = [
    { ...shared, path: "/models", voice, handle: (call: KeyedCall) => formsOf(call).list(call) },
    { ...shared, path: "/models/{id=**}", voice, handle: (call: KeyedCall) => formsOf(call).get(call) },
  ];
  const ofGoogle = ["/v1beta", "/v1alpha"].flatMap((version) => [
    { ...shared, path: `${version}/models`, label: `${version}/models`, voice: gemini, handle: asGoogle.list },
    {
      ...shared,
      path: `${version}/models/{id=**}`,
      label: `${version}/models/{id=**}`,
      voice: gemini,
      handle: asGoogle.get,
    },
  ]);
  return [...plain.flatMap(versionedAsOpenai), ...ofGoogle];
}

interface Forms {
  readonly list: (call: KeyedCall) => Promise<void>;
  readonly get: (call: KeyedCall) => Promise<void>;
}

/** Whether a client is Google's, whose library asks for models under `/v1` as OpenAI's does. */
function isGoogleClient({ headers }: Pick<IncomingMessage, "headers">): boolean {
  return headers["x-goog-api-client"] !== undefined || headers["x-goog-api-key"] !== undefined;
}

/** The route of a name: its own, else that of the longest pattern that it fits. */
export function findRoute(routes: readonly ListedRoute[], id: string): ListedRoute | undefined {
  let best: ListedRoute | undefined;
  for (const route of routes) {
    const { alias } = route;
    if (alias === id) return route;
    const isPattern = alias.endsWith("*") && id.startsWith(alias.slice(0, -1));
    if (isPattern && alias.length > (best?.alias.length ?? 0)) best = route;
  }
  return best;
}

function openaiModel(id: string, route: ListedRoute): Model {
  const created = route.createTime === undefined ? 0 : Math.floor(timestampMs(route.createTime) / 1_000);
  return { id, object: "model", created, owned_by: route.targets[0]?.provider ?? "weir" };
}
