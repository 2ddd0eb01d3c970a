// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ServiceTier.html
const tiers: ReadonlySet<unknown> = new Set(["default", "flex", "priority", "reserved"]);

/** Whether a value is one of Bedrock's words for a service tier. */
export function isServiceTier(value: unknown): value is string {
  return tiers.has(value);
}
