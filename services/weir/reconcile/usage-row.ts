/** What an export may count, under the names of Weir's own form, in the order of reports. */
export const usageClasses = [
  "input_tokens",
  "cached_input_tokens",
  "cache_write_tokens",
  "cache_write_long_tokens",
  "output_tokens",
  "reasoning_tokens",
  "requests",
  "cost_usd",
] as const;

/**
 * Tokens as in weir.common.v1.Usage: input and output are totals, the others parts of them. `requests` are calls of the
 * provider, `cost_usd` is money.
 */
export type UsageClass = (typeof usageClasses)[number];

/** Counts; `cost_usd` in nano-USD. A class that is not there was not told, which is not zero. */
export type UsageCounts = Readonly<Partial<Record<UsageClass, bigint>>>;

/** What was used of one model in one UTC day, or in a part of it. */
export interface UsageRow {
  /** `2026-11-21`. */
  readonly day: string;
  /** As the provider names it. */
  readonly model: string;
  readonly counts: UsageCounts;
}

/** A provider's export of usage. */
export interface UsageExport {
  /** Which form the file has. */
  readonly form: "weir" | "openai" | "anthropic";
  /** In any order; a day and model may have several. */
  readonly rows: readonly UsageRow[];
  /** Every day that the export tells of, also one without rows. At least one. */
  readonly days: readonly string[];
  /** What the form counts. A model that has no row on one of the days used none of these. */
  readonly classes: ReadonlySet<UsageClass>;
}

/** A file that is no export. Its message quotes nothing of the file. */
export class ExportError extends Error {
  override readonly name = "ExportError";
}
