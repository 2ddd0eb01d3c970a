import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type ContextOf, createRouteTarget, type Route, type RouteTarget, type RoutingSnapshot } from "./snapshot.ts";

/** Where one request may go. */
export interface Plan {
  /** The model name that the caller sent, without `models/`. */
  readonly alias: string;
  readonly route: Route;
  /** At least one; the first choice first. */
  readonly targets: readonly RouteTarget[];
}

const resourcePrefix = "models/";
const modelLengthMax = 256;
const dotSegment = /(?:^|[\\/])\.{1,2}(?:[\\/]|$)/;

/**
 * Finds the targets of an alias: those of its own route, else of the longest alias with a star that fits. Pure.
 * @param nowMs the moment whose prices count, in milliseconds since 1970
 * @throws WeirError MODEL_NOT_FOUND, or MODEL_UNPRICED when no target may be called for want of a price
 */
export function planRequest(snapshot: RoutingSnapshot, model: string, nowMs: number): Plan {
  const plan =
    findRoute(snapshot, model) ??
    (model.startsWith(resourcePrefix) ? findRoute(snapshot, model.slice(resourcePrefix.length)) : undefined);
  if (plan === undefined) throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model } });
  const { route, targets } = plan;
  if (route.allowUnpriced) return plan;
  const { prices } = snapshot;
  if (targets.every((target) => prices.find(target, nowMs) !== undefined)) return plan;
  const priced = targets.filter((target) => prices.find(target, nowMs) !== undefined);
  if (priced.length === 0) throw new WeirError(ErrorReason.MODEL_UNPRICED, { metadata: { model: plan.alias } });
  return { ...plan, targets: priced };
}

/** The route that an alias takes, priced or not; undefined when there is none. */
export function findRoute(snapshot: RoutingSnapshot, alias: string): Plan | undefined {
  const route = snapshot.exact.get(alias);
  if (route !== undefined) return { alias, route, targets: route.targets };
  for (const { prefix, route: wide } of snapshot.prefixes) {
    if (!alias.startsWith(prefix)) continue;
    const targets = wide.targets.flatMap((target) => fillIn(target, alias.slice(prefix.length), snapshot.contextOf));
    return targets.length === 0 ? undefined : { alias, route: wide, targets };
  }
  return undefined;
}

/** A target of a route with a star, for one alias; none when the alias leaves no model to name. */
function fillIn(target: RouteTarget, rest: string, contextOf: ContextOf): RouteTarget[] {
  if (target.model !== "") return [target];
  // A name becomes a part of a path: one that a proxy could read as another's is no name.
  if (rest === "" || rest.length > modelLengthMax || !rest.isWellFormed() || dotSegment.test(rest)) return [];
  return [createRouteTarget(target.provider, rest, contextOf)];
}
