import { isAnthropicPage, readAnthropicPages } from "./anthropic-form.ts";
import { isFields } from "./fields.ts";
import { isOpenAiPage, readOpenAiPages } from "./openai-form.ts";
import { readOwnCsv, readOwnJson } from "./own-form.ts";
import { ExportError, type UsageExport } from "./usage-row.ts";

/**
 * Reads a provider's export of usage, whichever of the forms of docs/reconcile.md it has.
 * @throws ExportError for none of them, and for one with faults
 */
export function readUsageExport(text: string): UsageExport {
  const found = readForm(text.startsWith("\ufeff") ? text.slice(1) : text);
  if (found.days.length === 0) throw new ExportError("it tells of no day");
  return found;
}

function readForm(text: string): UsageExport {
  if (!/^\s*[[{]/.test(text)) return readOwnCsv(text);
  const value = parseJson(text);
  const list = Array.isArray(value) ? value.map((entry: unknown) => entry) : [value];
  const pages = list.filter(isFields);
  if (pages.length === list.length && pages.length > 0) {
    if (pages.every(isOpenAiPage)) return readOpenAiPages(pages);
    if (pages.every(isAnthropicPage)) return readAnthropicPages(pages);
    if (Array.isArray(value) && pages.every((row) => "day" in row && "model" in row)) return readOwnJson(pages);
  }
  throw new ExportError(
    "it has none of the forms that are known: rows with `day` and `model` (CSV, or a JSON list), pages of OpenAI's " +
      "/v1/organization/usage/completions, pages of Anthropic's /v1/organizations/usage_report/messages",
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own words quote the file.
    throw new ExportError("it begins as JSON and is none");
  }
}
