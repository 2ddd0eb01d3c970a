import { bucketsOf, countThere, dayOfBucket, type Fields, fieldsOf, isFields, listOf, textOf } from "./fields.ts";
import { ExportError, type UsageExport, type UsageRow } from "./usage-row.ts";

// Pages of GET /v1/organizations/usage_report/messages, grouped by model:
// https://platform.claude.com/docs/en/api/admin-api/usage-cost/get-messages-usage-report

/** Whether this is one of the pages. A page without buckets is of no form that can be told. */
export function isAnthropicPage(page: Fields): boolean {
  const data = page["data"];
  return Array.isArray(data) && data.length > 0 && data.every((bucket) => isFields(bucket) && "starting_at" in bucket);
}

/** @throws ExportError */
export function readAnthropicPages(pages: readonly Fields[]): UsageExport {
  const rows: UsageRow[] = [];
  const days = new Set<string>();
  for (const { bucket, where } of bucketsOf(pages)) {
    const timeOf = (name: string) => Date.parse(textOf(bucket, name, where));
    const day = dayOfBucket(timeOf("starting_at"), timeOf("ending_at"), where);
    days.add(day);
    for (const [index, value] of listOf(bucket, "results", where).entries()) {
      const place = `${where}, result ${index + 1}`;
      const result = fieldsOf(value, place);
      if (!("uncached_input_tokens" in result)) {
        throw new ExportError(`${place}: expected usage of messages, with \`uncached_input_tokens\``);
      }
      if (result["model"] === null || result["model"] === undefined) {
        throw new ExportError(`${place}: it names no model; export with group_by[]=model`);
      }
      const writes = fieldsOf(result["cache_creation"], `${place}, cache_creation`);
      const long = countThere(writes, "ephemeral_1h_input_tokens", place);
      const written = long + countThere(writes, "ephemeral_5m_input_tokens", place);
      const cached = countThere(result, "cache_read_input_tokens", place);
      rows.push({
        day,
        model: textOf(result, "model", place),
        counts: {
          input_tokens: countThere(result, "uncached_input_tokens", place) + written + cached,
          cached_input_tokens: cached,
          cache_write_tokens: written,
          cache_write_long_tokens: long,
          output_tokens: countThere(result, "output_tokens", place),
        },
      });
    }
  }
  return { form: "anthropic", rows, days: [...days], classes };
}

const classes = new Set([
  "input_tokens",
  "cached_input_tokens",
  "cache_write_tokens",
  "cache_write_long_tokens",
  "output_tokens",
] as const);
