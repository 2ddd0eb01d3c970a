import type { IncomingMessage } from "node:http";
import type { Tracer } from "@opentelemetry/api";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { beginTrace } from "@weir/kit/telemetry/trace-context";
import { WeirError } from "@weir/kit/weir-error";
import type { Admit, Admitted } from "./admission.ts";
import { optionsHeaders } from "./cors.ts";
import type { Exchange } from "./http/exchange.ts";
import { type Idempotency, idempotencyHeader } from "./idempotency/idempotency.ts";
import type { PathParams, RouteTable } from "./http/route-table.ts";
import { voiceOfPath } from "./routes/dialects.ts";
import type { Access, KeyedRoute, Route } from "./routes/route.ts";

export interface DispatcherDeps {
  readonly table: RouteTable<Route>;
  readonly admit: Admit;
  readonly idempotency: Pick<Idempotency, "serve">;
  readonly tracer: Tracer;
  readonly corsOrigins: () => readonly string[];
}

/** Finds what answers a request, has its caller admitted, and hands it over. */
export function createDispatcher(deps: DispatcherDeps): (exchange: Exchange) => Promise<void> | void {
  const { table, admit, tracer } = deps;
  const spanNames = new Map<Route, string>();

  return (exchange) => {
    const { request } = exchange;
    const pathText = pathOf(request);
    const method = request.method ?? "";
    const found = table.find(pathText, method);
    if (found === undefined) {
      exchange.voice = voiceOfPath(pathText) ?? exchange.voice;
      throw new WeirError(ErrorReason.NOT_FOUND);
    }
    const { row: route, params, anyRow, allow } = found;
    exchange.label = anyRow.label;
    const voice = route === undefined ? (voiceOfPath(pathText) ?? anyRow.voice) : route.voice;
    exchange.voice = (typeof voice === "function" ? voice(request) : voice) ?? exchange.voice;
    if (route === undefined) {
      if (method !== "OPTIONS") throw new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { metadata: { allow } });
      exchange.answer(204, optionsHeaders(request.headers, deps.corsOrigins(), allow), "");
      return undefined;
    }
    if (route.access === "open") return route.handle({ exchange, params });
    exchange.action = route.action ?? route.access.endpoint;
    const admitted = enter(exchange, route.access);
    return admitted instanceof Promise
      ? admitted.then((known) => begin(exchange, route, params, known))
      : begin(exchange, route, params, admitted);
  };

  function begin(
    exchange: Exchange,
    route: KeyedRoute,
    params: PathParams,
    { caller, admission }: Admitted,
  ): Promise<void> | void {
    // The client may have left while its token was verified or a store was asked, and nothing would tell the handler any more.
    if (exchange.isClosed) admission.end();
    else exchange.admission = admission;
    if (exchange.isOver) return undefined;
    exchange.trace = beginTrace(tracer, spanName(route), exchange.request.headers);
    const call = { exchange, params, caller, admission };
    if (route.method !== "POST" || exchange.request.headers[idempotencyHeader] === undefined) return route.handle(call);
    return deps.idempotency.serve(exchange, caller, route.label, () => route.handle(call));
  }

  function enter(exchange: Exchange, access: Access): Admitted | Promise<Admitted> {
    const { request, socket } = exchange;
    try {
      const admitted = admit({ headers: request.headers, address: socket.remoteAddress }, access, (known) => {
        exchange.caller = known;
      });
      return admitted instanceof Promise ? admitted.catch((thrown: unknown) => refuse(exchange, thrown)) : admitted;
    } catch (thrown) {
      return refuse(exchange, thrown);
    }
  }

  function refuse(exchange: Exchange, thrown: unknown): never {
    // Every further guess costs its author a new connection.
    exchange.isLast =
      exchange.caller === undefined && thrown instanceof WeirError && thrown.reason === ErrorReason.RATE_LIMITED;
    throw thrown;
  }

  function spanName(route: Route): string {
    const known = spanNames.get(route);
    if (known !== undefined) return known;
    const name = `${route.method} ${route.label}`;
    spanNames.set(route, name);
    return name;
  }
}

/**
 * The path that a request names, percent-encoded as it came, without its query.
 * @throws WeirError INVALID_REQUEST when the target is not of a form that a server answers, or HTTP/1.1's Host is missing
 */
function pathOf({ url = "", headers, httpVersionMinor }: IncomingMessage): string {
  const { host } = headers;
  if (host === undefined && httpVersionMinor === 1) throw invalid("The Host header is missing.");
  const target = url.startsWith("/") ? url : afterAuthority(url, host);
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}

/** The path of a target in absolute form, which must name the same host as the Host header. */
function afterAuthority(url: string, host: string | undefined): string {
  const match = /^https?:\/\/([^/?#]+)(.*)$/i.exec(url);
  if (match === null) throw invalid("The request's target is not a path.");
  const [, authority = "", rest = ""] = match;
  if (host !== undefined && authority.toLowerCase() !== host.toLowerCase()) {
    throw invalid("The request's target and its Host header name different hosts.");
  }
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function invalid(text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text });
}
