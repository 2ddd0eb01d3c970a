import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { createRouter } from "@weir/router/service";
import { type RoutingSnapshot, routingFromConfig } from "@weir/router/snapshot";
import { createAttemptIds } from "../attempt-id.ts";
import type { Snapshot } from "../configuration.ts";
import type { Part, Root } from "./part.ts";

/** Serves chats and routes. */
export function startRouter(root: Root): Part {
  const { configuration, mesh, telemetry, log, clock } = root;
  let routing = routingOf(configuration.current(), clock.now());
  configuration.onChange((next) => {
    const nextRouting = routingOf(next, clock.now());
    return () => {
      routing = nextRouting;
    };
  });
  const router = createRouter({
    attempts: mesh.client(AttemptService, "pool"),
    forwards: mesh.client(ForwardAttemptService, "pool"),
    routing: () => routing,
    clock,
    random: Math.random,
    newAttemptId: createAttemptIds(),
    meter: telemetry.meter,
    tracer: telemetry.tracer,
    log,
  });
  mesh.host("router", ChatService, router.chat, { trustsMesh: true });
  mesh.host("router", RouteService, router.routes);
  mesh.host("router", PassthroughService, router.passthrough, { trustsMesh: true });
  return { health: () => [], stop: async () => {} };
}

function routingOf({ config, prices }: Snapshot, nowMs: number): RoutingSnapshot {
  return routingFromConfig(config, prices, nowMs);
}
