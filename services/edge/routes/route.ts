import type { IncomingMessage } from "node:http";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import type { Caller } from "../auth/caller.ts";
import type { ErrorVoice, Exchange } from "../http/exchange.ts";
import type { PathParams, RouteRow } from "../http/route-table.ts";
import type { Admission } from "../limits/limits.ts";

/** What a handler of an open route gets. */
export interface OpenCall {
  readonly exchange: Exchange;
  readonly params: PathParams;
}

/** What a handler of a route that needs a key gets. */
export interface KeyedCall extends OpenCall {
  readonly caller: Caller;
  /** What the call has taken of its limits; the exchange ends it. */
  readonly admission: Admission;
}

interface Row extends RouteRow {
  /** The path as metrics and spans name it; several paths may share one. */
  readonly label: string;
  /** How failures are told, for all requests or by what one says of itself; default: as OpenAI does. */
  readonly voice?: ErrorVoice | ((request: IncomingMessage) => ErrorVoice);
}

/** Answered to everyone. */
export interface OpenRoute extends Row {
  readonly access: "open";
  readonly handle: (call: OpenCall) => Promise<void> | void;
}

/** What a route asks of its caller. */
export interface Access {
  /** What the caller's role must have. */
  readonly permission: Permission;
  /** What the caller's key must not leave out of its scope: `chat`, `embeddings`, `costs`. */
  readonly endpoint: string;
}

/** What routes ask that lead to a model, or to what models made. */
export function callsModels(endpoint: string): Access {
  return { permission: Permission.MODELS_CALL, endpoint };
}

/** Answered to whoever may call it, and whose request rate is not used up. */
export interface KeyedRoute extends Row {
  readonly access: Access;
  /** What the audit log calls it when it is refused: `keys.rotate`. Default: the endpoint. */
  readonly action?: string;
  readonly handle: (call: KeyedCall) => Promise<void> | void;
}

/** One row of the table that decides who may call what. */
export type Route = OpenRoute | KeyedRoute;

type Unlabelled<R> = R extends Row ? Omit<R, "label"> : never;

/** A route under `/v1` and, for clients whose base URL lacks it, without. @param path begins with `/`, without `/v1` */
export function versioned(route: Unlabelled<Route>): Route[] {
  const label = `/v1${route.path}`;
  return ["/v1", ""].map((prefix) => ({ ...route, path: `${prefix}${route.path}`, label }));
}

/**
 * As `versioned`, and where OpenAI's clients look on Azure: under `/openai/v1`, or under `/openai` with the version in the query.
 * https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
 */
export function versionedAsOpenai(route: Unlabelled<Route>): Route[] {
  const label = `/v1${route.path}`;
  const onAzure = ["/openai/v1", "/openai"].map((prefix) => ({ ...route, path: `${prefix}${route.path}`, label }));
  return [...versioned(route), ...onAzure];
}
