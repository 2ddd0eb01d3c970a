/** What vendors call the tier that needs no name. */
const standard: ReadonlySet<string> = new Set(["auto", "default", "on_demand", "standard", "standard_only"]);

/**
 * The tier that a provider says it served an answer in, as usage has it.
 * @param value `service_tier` of the answer
 * @returns undefined for the standard one, and for what is no name of at most 64 letters, digits, `_` and `-`
 */
export function tierOfUsage(value: unknown): string | undefined {
  return typeof value === "string" && /^[\w-]{1,64}$/.test(value) && !standard.has(value) ? value : undefined;
}
