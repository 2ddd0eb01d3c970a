import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Meter, Tracer } from "@opentelemetry/api";
import type { ChatService, GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import type { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import {
  CircuitState as CircuitStateMessage,
  type ListRoutesResponse,
  ListRoutesResponseSchema,
  type RouteService,
  RouteSchema,
  TargetHealthSchema,
} from "@weir/gen/weir/routing/v1/route_service_pb";
import {
  callMetadata,
  type CallTrace,
  type Client,
  type Metadata,
  metadataNames,
  requestMetadata,
  requestTrace,
} from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { streamOf } from "@weir/kit/reply-stream";
import { joinTrace } from "@weir/kit/telemetry/trace-context";
import { WeirError } from "@weir/kit/weir-error";
import { createRetryBudget } from "./attempts.ts";
import { GenerateCall, type GenerateDeps } from "./generate-call.ts";
import { type CircuitState, createHealth, type TargetHealthView } from "./health.ts";
import { createMetrics } from "./metrics.ts";
import { findRoute, planRequest } from "./plan.ts";
import { ForwardCall, type ForwardDeps } from "./passthrough/forward-call.ts";
import { choose, routeOrder } from "./policy.ts";
import type { Route, RouteTarget, RoutingSnapshot } from "./snapshot.ts";

export interface RouterDeps {
  readonly attempts: Client<typeof AttemptService>;
  readonly forwards: Client<typeof ForwardAttemptService>;
  /** The routes in force; read once for each request. */
  readonly routing: () => RoutingSnapshot;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** A new UUID of version 7. */
  readonly newAttemptId: () => string;
  readonly meter: Meter;
  readonly tracer: Tracer;
  readonly log: Log;
}

export interface Router {
  readonly chat: ServiceImpl<typeof ChatService>;
  readonly routes: ServiceImpl<typeof RouteService>;
  readonly passthrough: ServiceImpl<typeof PassthroughService>;
}

/** Requests that may wait at once for a provider that asked for a pause; others are told to come back. */
const waitersMax = 1_000;

/** Creates the services of the router. Their state, circuits and retry budget, is this process's own. */
export function createRouter(deps: RouterDeps): Router {
  const { attempts, routing, clock, random, newAttemptId, tracer, log } = deps;
  const metrics = createMetrics(deps.meter);
  const monotonic = () => clock.monotonic();
  const health = createHealth({
    settings: () => routing().circuit,
    monotonic,
    onChange(target, state) {
      metrics.circuit(target.provider, state);
      log[state === "open" ? "warn" : "info"](
        { provider: target.provider, model: target.model, state },
        "circuit changed",
      );
    },
  });
  const shared: GenerateDeps = {
    attempts,
    health,
    budget: createRetryBudget(() => routing().retry, monotonic),
    ranking: routeOrder,
    waiters: { count: 0, max: waitersMax },
    clock,
    random,
    newAttemptId,
    metrics,
    log,
  };

  const forwarding: ForwardDeps = {
    forwards: deps.forwards,
    routing,
    health,
    budget: shared.budget,
    ranking: routeOrder,
    clock,
    newAttemptId,
    metrics,
  };

  /** The answer to ListRoutes until the routes change; shared, never changed. */
  let listed: { readonly snapshot: RoutingSnapshot; readonly answer: ListRoutesResponse } | undefined;

  return {
    passthrough: {
      forward: (requests, context) =>
        new ForwardCall(forwarding, {
          requests: streamOf(requests),
          requestId: requestMetadata(context, metadataNames.requestId) ?? newAttemptId(),
          metadata: metadataBelow(context, requestTrace(context)),
          context,
        }).stream,
    },

    chat: {
      async countTokens({ request }, context) {
        if (request === undefined) {
          throw new WeirError(ErrorReason.INVALID_REQUEST, { metadata: { param: "request" } });
        }
        checkForm(request);
        const { targets } = planRequest(routing(), request.model, clock.now());
        const candidates = targets.map((target, position) => ({
          target,
          position,
          tries: 0,
          standing: health.standing(target),
        }));
        const choice = choose(candidates, routeOrder);
        const target = choice.kind === "call" ? choice.candidate.target : targets[0];
        const { inputTokens, estimated } = await attempts.countTargetTokens(
          { ...(target === undefined ? {} : { target: target.message }), request },
          { metadata: metadataBelow(context, undefined), timeoutMs: countTimeoutMs },
        );
        return { inputTokens, estimated };
      },
      generate(request, context) {
        checkForm(request);
        const snapshot = routing();
        const plan = planRequest(snapshot, request.model, clock.now());
        const trace = joinTrace(tracer, "router.generate", requestTrace(context));
        return new GenerateCall(shared, {
          plan,
          retry: snapshot.retry,
          request,
          requestId: requestMetadata(context, metadataNames.requestId) ?? newAttemptId(),
          metadata: metadataBelow(context, trace),
          leftMs: () => context.timeoutMs(),
          span: trace.span,
        }).stream;
      },
    },

    routes: {
      listRoutes() {
        const snapshot = routing();
        if (listed?.snapshot !== snapshot) listed = { snapshot, answer: routeList(snapshot) };
        return listed.answer;
      },

      getRoute({ name }) {
        const alias = name.slice("routes/".length);
        const snapshot = routing();
        const found = findRoute(snapshot, alias);
        if (found === undefined) throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model: alias } });
        return { route: routeMessage(alias, found.route, found.targets, snapshot) };
      },

      listTargetHealth() {
        const targets = health
          .list()
          .sort((a, b) => (a.target.key < b.target.key ? -1 : 1))
          .map((view) => healthMessage(view, clock.now()));
        return { targets };
      },
    },
  };
}

/** For a count, which its caller waits for before it does anything. */
const countTimeoutMs = 10_000;

/** A conversation without a message has nothing to answer; bodies of public dialects are judged where they are read. */
function checkForm(request: GenerateRequest): void {
  if (request.wire !== undefined || request.messages.length > 0) return;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "`messages` must hold at least one message.",
    metadata: { param: "messages" },
  });
}

/** What attempts are told of the call: who pays, the request's id and the trace. */
function metadataBelow(context: HandlerContext, trace: CallTrace | undefined): Metadata {
  return callMetadata(
    requestMetadata(context, metadataNames.principal),
    requestMetadata(context, metadataNames.requestId),
    trace,
  );
}

/** All routes, by name. */
function routeList(snapshot: RoutingSnapshot): ListRoutesResponse {
  const all = [...snapshot.exact.values(), ...snapshot.prefixes.map(({ route }) => route)];
  const routes = all
    .map((route) => routeMessage(route.alias, route, route.targets, snapshot))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return Object.freeze(create(ListRoutesResponseSchema, { routes }));
}

function routeMessage(alias: string, route: Route, targets: readonly RouteTarget[], snapshot: RoutingSnapshot) {
  return create(RouteSchema, {
    name: `routes/${alias}`,
    alias,
    targets: targets.map((target) => target.message),
    allowUnpriced: route.allowUnpriced,
    createTime: timestampFromMs(Math.floor(snapshot.createTimeMs)),
  });
}

const circuitStates: Readonly<Record<CircuitState, CircuitStateMessage>> = {
  closed: CircuitStateMessage.CLOSED,
  open: CircuitStateMessage.OPEN,
  "half-open": CircuitStateMessage.HALF_OPEN,
};

function healthMessage(view: TargetHealthView, nowMs: number) {
  return create(TargetHealthSchema, {
    target: view.target.message,
    state: circuitStates[view.state],
    consecutiveFailures: view.consecutiveFailures,
    ...(view.waitMs === undefined ? {} : { retryTime: timestampFromMs(Math.ceil(nowMs + view.waitMs)) }),
  });
}
