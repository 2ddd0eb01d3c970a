import { bucketsOf, countOf, countThere, dayOfBucket, type Fields, fieldsOf, listOf, textOf } from "./fields.ts";
import { ExportError, type UsageClass, type UsageExport, type UsageRow } from "./usage-row.ts";

// Pages of GET /v1/organization/usage/completions, grouped by model:
// https://platform.openai.com/docs/api-reference/usage/completions
// https://cookbook.openai.com/examples/completions_usage_api

const resultName = "organization.usage.completions.result";

/** Whether this is one of the pages. */
export function isOpenAiPage(page: Fields): boolean {
  return page["object"] === "page" && Array.isArray(page["data"]);
}

/** @throws ExportError */
export function readOpenAiPages(pages: readonly Fields[]): UsageExport {
  const rows: UsageRow[] = [];
  const days = new Set<string>();
  const classes = new Set<UsageClass>(["input_tokens", "cached_input_tokens", "output_tokens", "requests"]);
  for (const { bucket, where } of bucketsOf(pages)) {
    const secondsOf = (name: string) => Number(countThere(bucket, name, where));
    const day = dayOfBucket(1_000 * secondsOf("start_time"), 1_000 * secondsOf("end_time"), where);
    days.add(day);
    for (const [index, value] of listOf(bucket, "results", where).entries()) {
      const place = `${where}, result ${index + 1}`;
      const result = fieldsOf(value, place);
      if (result["object"] !== resultName) {
        throw new ExportError(`${place}: expected usage of completions, \`object\` ${resultName}`);
      }
      if (result["model"] === null || result["model"] === undefined) {
        throw new ExportError(`${place}: it names no model; export with group_by=model`);
      }
      // Absent from older exports, which differs from zero.
      const cacheWrite = countOf(result, "input_cache_write_tokens", place);
      if (cacheWrite !== undefined) classes.add("cache_write_tokens");
      rows.push({
        day,
        model: textOf(result, "model", place),
        counts: {
          // Cached tokens and cache writes included.
          input_tokens: countThere(result, "input_tokens", place),
          cached_input_tokens: countOf(result, "input_cached_tokens", place) ?? 0n,
          output_tokens: countThere(result, "output_tokens", place),
          requests: countThere(result, "num_model_requests", place),
          ...(cacheWrite === undefined ? {} : { cache_write_tokens: cacheWrite }),
        },
      });
    }
  }
  return { form: "openai", rows, days: [...days], classes };
}
