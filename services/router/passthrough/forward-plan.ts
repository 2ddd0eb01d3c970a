import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { CallHead } from "@weir/gen/weir/passthrough/v1/forward_pb";
import { WeirError } from "@weir/kit/weir-error";
import { findRoute, type Plan, planRequest } from "../plan.ts";
import { createRouteTarget, type RoutingSnapshot } from "../snapshot.ts";

/** Endpoints that no vendor bills for, and that need no price. */
const freeEndpoints: ReadonlySet<string> = new Set(["moderations"]);

/**
 * Where a call that passes through may go: where what it is about is; else to the targets of its alias; else to the provider
 * that the configuration has for its endpoint. Pure.
 * @throws WeirError MODEL_NOT_FOUND, MODEL_UNPRICED, NOT_FOUND when nobody serves the endpoint, INVALID_REQUEST when the alias
 *   is not served where the call must go
 */
export function planForward(snapshot: RoutingSnapshot, { endpoint, alias, place }: CallHead, nowMs: number): Plan {
  const { passthrough } = snapshot;
  if (alias === "") {
    const provider = place?.provider ?? passthrough.providerOf(endpoint);
    if (provider === undefined) {
      throw new WeirError(ErrorReason.NOT_FOUND, { text: `No provider is configured that serves ${endpoint}.` });
    }
    // A ledger row names a model; of calls that have none it is the endpoint.
    return { alias, route: passthrough.route, targets: [createRouteTarget(provider, endpoint, snapshot.contextOf)] };
  }
  const free = freeEndpoints.has(endpoint) ? findRoute(snapshot, alias) : undefined;
  const plan = free ?? planRequest(snapshot, alias, nowMs);
  if (place === undefined) return plan;
  const targets = plan.targets.filter((target) => target.provider === place.provider);
  if (targets.length > 0) return { ...plan, targets };
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "The model is not served where the files are that the request names.",
    metadata: { param: "model" },
  });
}
