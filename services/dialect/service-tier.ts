import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "./codec.ts";

/** What vendors call the tier that needs no name. */
const standard: ReadonlySet<unknown> = new Set(["default", "on_demand", "standard", "standard_only"]);

/**
 * The tier that a provider says it served an answer in, as usage has it.
 * @param value `service_tier` of the answer
 * @returns undefined for the standard one, and for what is no name of at most 64 letters, digits, `_` and `-`
 */
export function tierOfUsage(value: unknown): string | undefined {
  if (typeof value !== "string" || !/^[\w-]{1,64}$/.test(value)) return undefined;
  return value === "auto" || standard.has(value) ? undefined : value;
}

/** Counts with what an answer says of its tier. @param tier `service_tier` of the answer */
export function readingIn(tier: unknown, usage: Usage, sound: boolean): UsageReading {
  const name = tierOfUsage(tier);
  if (name !== undefined) usage.serviceTier = name;
  return standard.has(tier) ? { usage, sound, standardTier: true } : { usage, sound };
}

/**
 * The tier that a request asks for by name, where it is served in that one or in the standard one.
 * @param value `service_tier` of the request
 * @returns undefined where the provider chooses (`auto`), and for any other
 */
export function tierOfRequest(value: unknown): string | undefined {
  return value === "flex" || value === "priority" ? value : undefined;
}
