import type { Meter, Tracer } from "@opentelemetry/api";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import type { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import type { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import type { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import type { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import type { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { CounterStore } from "@weir/kit/limits/limiter";
import type { Log } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import type { ServerTlsOptions } from "@weir/kit/grpc/credentials";
import { createAdmission } from "./admission.ts";
import { createAlarms } from "./alarms.ts";
import { createAuthenticator } from "./auth/authenticate.ts";
import { clientAddress } from "./auth/client-address.ts";
import { createGuessLimit } from "./auth/guess-limit.ts";
import { createRefusals } from "./auth/refusals.ts";
import { createKeySnapshot } from "./auth/snapshot.ts";
import { createTokenVerifier } from "./auth/tokens.ts";
import type { Address, EdgeSettings } from "./config.ts";
import { createConnectRoutes } from "./connect/routes.ts";
import { appendCorsHeaders } from "./cors.ts";
import { createDispatcher } from "./dispatch.ts";
import { createGrpcDoor } from "./grpc/door.ts";
import { createBodyMemory } from "./http/body.ts";
import type { OwnNames } from "./files/own-names.ts";
import type { EdgeChat } from "./files/owned-files.ts";
import type { Exchange } from "./http/exchange.ts";
import { sourceOf } from "./http/source.ts";
import { createRouteTable } from "./http/route-table.ts";
import { createHttpServer, type HttpServer, type ServerHandler } from "./http/server.ts";
import { createIdempotency } from "./idempotency/idempotency.ts";
import { createLimits } from "./limits/limits.ts";
import { appendRateHeaders } from "./limits/rate-headers.ts";
import { createMeasures } from "./measures.ts";
import { createPages } from "./openapi/pages.ts";
import { clientLeft, createReport } from "./report.ts";
import { createRequestIds } from "./request-id.ts";
import { createRequestRecords } from "./request-records.ts";
import { createChatSockets } from "./routes/chat-socket/chat-socket.ts";
import { createCostForms } from "./routes/costs.ts";
import { createDialectRoutes } from "./routes/dialects.ts";
import { createHealth, type DependencyHealth } from "./routes/health.ts";
import { createMetrics } from "./routes/metrics.ts";
import { createModelRoutes } from "./routes/models.ts";
import type { PassthroughDeps } from "./routes/passthrough/handler.ts";
import { createRealtime } from "./routes/passthrough/realtime.ts";
import { createPassthroughRoutes } from "./routes/passthrough/routes.ts";
import { createResponses } from "./routes/responses/responses.ts";
import { type Route, versioned } from "./routes/route.ts";
import { createModelRules } from "./rpc/model-rules.ts";
import { createPublicMethods, type RpcService } from "./rpc/public-methods.ts";
import { createTranscodedRoutes } from "./transcode/routes.ts";

export type { DependencyHealth } from "./routes/health.ts";

export interface EdgeDeps {
  readonly chat: EdgeChat;
  readonly routes: Pick<Client<typeof RouteService>, "listRoutes" | "listTargetHealth">;
  readonly accounts: Pick<Client<typeof AccountService>, "watchKeys">;
  readonly audit: Pick<Client<typeof AuditService>, "recordRefusals">;
  readonly conversations: Client<typeof ConversationService>;
  readonly idempotency: Client<typeof IdempotencyService>;
  readonly requests: Pick<Client<typeof RequestService>, "recordRequests">;
  readonly passthrough: PassthroughDeps["passthrough"];
  readonly resources: PassthroughDeps["resources"];
  readonly ownNames: OwnNames;
  /** What gRPC, Connect and transcoded HTTP serve of these services is what their protos say. */
  readonly rpc: readonly RpcService[];
  /** Secret under which keys are hashed: the one that metering has. */
  readonly pepper: Uint8Array;
  readonly settings: () => EdgeSettings;
  /** Where limits are that several edges share. Undefined: this edge counts for itself. */
  readonly limitStore?: CounterStore | undefined;
  /** For `/health`, beside keys and router. */
  readonly dependencies: () => readonly DependencyHealth[];
  /** Everything that was measured, in Prometheus' text format. */
  readonly renderMetrics: () => Promise<string>;
  readonly clock: Clock;
  /** From 0 to less than 1; spreads reconnects. Math.random will do. */
  readonly random: () => number;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly log: Log;
  readonly version: string;
}

/** The public door. */
export interface Edge {
  /** What answers at the public port, and who may call it. */
  readonly routes: readonly Pick<Route, "method" | "path" | "access">[];
  /**
   * Opens the port, and the metrics port when the settings name one. Keys are followed since `createEdge`.
   * @returns the base URL, without `/v1`
   * @throws Error of the system when a port cannot be opened
   */
  listen(address: Address): Promise<{ readonly url: string }>;
  /**
   * Opens the port of plain gRPC.
   * @param address `host:port`; port 0: any free one
   * @param tls undefined: without
   * @returns the address with the true port
   * @throws Error of the system when the port cannot be opened
   */
  listenGrpc(address: string, tls?: ServerTlsOptions): Promise<string>;
  /**
   * Ends service without cutting anybody off: readiness fails and answers close their connections at once, the port and
   * idle connections close after `noticeMs`, and requests that are still open after `timeoutMs` end with OVERLOADED, in
   * their stream where it has begun. Closes the edge. Safe to call twice.
   * @param timeoutMs for everything
   * @param noticeMs how long the port stays open, so that balancers come to see it; default 0
   */
  drain(timeoutMs: number, noticeMs?: number): Promise<void>;
  /** Cuts every connection and ends. */
  close(): Promise<void>;
}

/** How long refusals may take to leave when time is up. */
const partingMs = 500;

/** Builds the edge; it serves from `listen` to `drain` or `close`. */
export function createEdge(deps: EdgeDeps): Edge {
  const { clock, log, settings, version } = deps;
  const alarms = createAlarms(clock);
  const keys = createKeySnapshot(deps);
  const tokens = createTokenVerifier({
    providers: () => settings().identityProviders,
    isLoaded: () => keys.isLoaded,
    clock,
    log,
  });
  const authenticate = createAuthenticator({
    keys,
    tokens,
    pepper: deps.pepper,
    clock,
    guesses: createGuessLimit(clock),
    trustedProxies: () => settings().trustedProxies,
  });
  const openRequests = (): number => server.openCount + grpc.openCount;
  const measures = createMeasures(deps.meter, { openRequests, keys: () => keys.size });
  const refusals = createRefusals({ audit: deps.audit, clock, log });
  const records = createRequestRecords({ requests: deps.requests, clock, meter: deps.meter, log });
  const report = createReport({ measures, log, clock, refusals, records });
  const newRequestId = createRequestIds(() => clock.now());
  const limits = createLimits({
    clock,
    defaults: settings,
    subject: (name) => keys.subject(name),
    aliases: () => settings().aliasLimits,
    store: deps.limitStore,
    onRefused: (limit) => measures.rateLimited(limit),
  });
  const admit = createAdmission({
    authenticate,
    limits,
    isOverloaded: () => openRequests() > settings().requestsMax || alarms.lagMs > lagMaxMs,
  });
  const methods = createPublicMethods(deps.rpc, createModelRules());
  const memory = createBodyMemory(() => settings().bodiesBytesMax);
  const grpc = createGrpcDoor({ methods, admit, settings, memory, report, newRequestId, tracer: deps.tracer, clock });
  const idempotency = createIdempotency({
    claims: deps.idempotency,
    secret: deps.pepper,
    memory,
    settings,
    clock,
    log,
  });
  let draining = false;
  let ended: Promise<void> | undefined;

  const generateDeps = { chat: deps.chat, settings, memory, measures, clock };
  const dialects = createDialectRoutes(generateDeps);
  const responses = createResponses({ ...generateDeps, conversations: deps.conversations, log });
  const metrics = createMetrics({ renderMetrics: deps.renderMetrics, authenticate });
  const health = createHealth({
    routes: deps.routes,
    dependencies: deps.dependencies,
    clock,
    version,
    isDraining: () => draining,
    isLoaded: () => keys.isLoaded,
    isFresh: () => keys.isFresh,
  });
  const healthRoutes: Route[] = [
    ...versioned({ method: "GET", path: "/health", access: "open", handle: health.all }),
    { method: "GET", path: "/health/live", label: "/health/live", access: "open", handle: health.live },
    { method: "GET", path: "/health/ready", label: "/health/ready", access: "open", handle: health.ready },
  ];
  const chatSockets = createChatSockets({ methods, admit, authenticate, settings, report, newRequestId, clock, log });
  const publicRoutes: Route[] = [
    ...dialects,
    ...responses.routes,
    ...createPassthroughRoutes({ ...deps, memory }),
    ...createRealtime({ ...deps, memory, authenticate }),
    ...chatSockets.routes,
    ...createModelRoutes({ routes: deps.routes, clock }),
    ...createTranscodedRoutes({ methods, settings, memory, measures, forms: createCostForms(methods) }),
    ...createConnectRoutes({ methods, settings, memory }),
    ...versioned({ method: "GET", path: "/metrics", access: "open", handle: metrics.guarded }),
    ...healthRoutes,
    ...createPages({ routes: () => publicRoutes, methods, version }),
  ];
  const metricsRoutes: Route[] = [
    ...versioned({ method: "GET", path: "/metrics", access: "open", handle: metrics.open }),
    ...healthRoutes,
  ];

  function serve(routes: readonly Route[]): HttpServer {
    const dispatch = createDispatcher({
      table: createRouteTable(routes),
      admit,
      idempotency,
      tracer: deps.tracer,
      corsOrigins: () => settings().corsOrigins,
    });
    const handler: ServerHandler = {
      handle: dispatch,
      appendHeaders(exchange, headers) {
        // Where Anthropic's clients look for the id. Failures in their dialect bring it.
        const isAnthropic = exchange.voice.renderError === anthropicMessages.renderError;
        if (isAnthropic && exchange.failure === undefined) headers.push("request-id", exchange.id);
        if (exchange.caller !== undefined) {
          appendRateHeaders(exchange.voice, limits.standings(exchange.caller), clock.now(), headers);
        }
        appendCorsHeaders(exchange.request.headers, settings().corsOrigins, headers);
      },
      closed,
      refused(status, requestId) {
        measures.answered("none", "other", status, 0);
        log.debug({ requestId, status }, "refused what is no HTTP request");
      },
    };
    return createHttpServer({
      clock,
      alarms,
      newRequestId,
      writeStallMs: () => settings().writeStallMs,
      connectionsPerSourceMax: () => settings().connectionsPerAddressMax,
      handler,
    });
  }

  function closed(exchange: Exchange): void {
    memory.release(exchange);
    exchange.admission?.end();
    const { request } = exchange;
    report({
      id: exchange.id,
      method: request.method ?? "",
      label: exchange.label,
      status: exchange.status ?? clientLeft,
      startMs: exchange.startMs,
      isComplete: exchange.isComplete,
      firstContentMs: exchange.firstContentMs,
      caller: exchange.caller,
      failure: exchange.failure,
      defect: exchange.defect,
      span: exchange.trace?.span,
      action: exchange.action,
      source: () => sourceOf(clientAddress(request.headers, exchange.socket.remoteAddress, settings().trustedProxies)),
    });
  }

  const server = serve(publicRoutes);
  const metricsServer = serve(metricsRoutes);

  async function finish(timeoutMs: number, noticeMs: number): Promise<void> {
    const endMs = clock.monotonic() + timeoutMs;
    draining = true;
    server.beginDrain();
    chatSockets.drain();
    metricsServer.beginDrain();
    if (noticeMs > 0) await passed(clock, Math.min(noticeMs, timeoutMs));
    server.stopListening();
    const calls = grpc.drain(Math.max(0, endMs - clock.monotonic()));
    await within(clock, server.leave(), endMs - clock.monotonic());
    await within(clock, responses.finish(), endMs - clock.monotonic());
    if (server.openCount > 0) {
      log.warn({ open: server.openCount }, "requests did not end in time");
      server.failAll(
        new WeirError(ErrorReason.OVERLOADED, {
          text: "The gateway is shutting down; send the request again.",
          retryAfterMs: 1_000,
        }),
      );
      await within(clock, server.leave(), partingMs);
    }
    await within(clock, responses.giveUp(), partingMs);
    await calls;
    await shut();
  }

  async function shut(): Promise<void> {
    draining = true;
    responses.close();
    keys.close();
    tokens.close();
    idempotency.close();
    await within(clock, Promise.all([refusals.close(), records.close()]), partingMs);
    await Promise.all([server.close(), metricsServer.close(), grpc.close()]);
    limits.close();
    alarms.close();
    measures.close();
  }

  return {
    routes: publicRoutes,
    async listen(address) {
      const bound = await server.listen(address);
      const { metricsAddress } = settings();
      if (metricsAddress !== undefined) await metricsServer.listen(metricsAddress);
      const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
      return { url: `http://${host}:${bound.port}` };
    },
    listenGrpc: (address, tls) => grpc.listen(address, tls),
    drain(timeoutMs, noticeMs = 0) {
      ended ??= finish(timeoutMs, noticeMs);
      return ended;
    },
    async close() {
      await shut();
    },
  };
}

/** New work is refused when this process lets its events wait so long. */
const lagMaxMs = 500;

function passed(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve));
}

/** Waits for a promise, but not for ever. */
async function within(clock: Clock, promise: Promise<unknown>, timeoutMs: number): Promise<void> {
  let cancel: (() => void) | undefined;
  const timeout = new Promise<void>((resolve) => {
    cancel = clock.after(Math.max(0, timeoutMs), resolve);
  });
  await Promise.race([promise, timeout]);
  cancel?.();
}
