import { expect, test } from "vitest";
import { blocksOf } from "../../../test/blocks.ts";
import { readUsageExport } from "./read-export.ts";

const day = "2026-11-20";
const startTime = Date.parse(day) / 1_000;

const openAiResult = {
  object: "organization.usage.completions.result",
  input_tokens: 5_000,
  output_tokens: 1_000,
  input_cached_tokens: 4_000,
  num_model_requests: 5,
  project_id: null,
  model: "gpt-4o-mini",
};
const openAiPage = (results: readonly object[], more = {}) => ({
  object: "page",
  data: [{ object: "bucket", start_time: startTime, end_time: startTime + 86_400, results }],
  has_more: false,
  next_page: null,
  ...more,
});

const anthropicResult = {
  uncached_input_tokens: 1_500,
  cache_creation: { ephemeral_1h_input_tokens: 1_000, ephemeral_5m_input_tokens: 500 },
  cache_read_input_tokens: 200,
  output_tokens: 500,
  server_tool_use: { web_search_requests: 10 },
  model: "claude-sonnet-4-20250514",
  service_tier: "standard",
};
const anthropicPage = (results: readonly object[], more = {}) => ({
  data: [{ starting_at: `${day}T00:00:00Z`, ending_at: "2026-11-21T00:00:00Z", results }],
  has_more: false,
  next_page: null,
  ...more,
});

const read = (value: unknown) => readUsageExport(JSON.stringify(value));

test("Weir's CSV: any of its columns in any order, an empty cell is not told", () => {
  const text =
    '\ufeffmodel,day,output_tokens,cost_usd,requests\r\n"a,b",2026-11-20,7,0.000000001,\r\nc,2026-11-21,,12.5,2\r\n';
  expect(readUsageExport(text)).toEqual({
    form: "weir",
    rows: [
      { day, model: "a,b", counts: { output_tokens: 7n, cost_usd: 1n } },
      { day: "2026-11-21", model: "c", counts: { cost_usd: 12_500_000_000n, requests: 2n } },
    ],
    days: [day, "2026-11-21"],
    classes: new Set(["output_tokens", "cost_usd", "requests"]),
  });
});

test("Weir's JSON: numbers or decimal text, money as text", () => {
  expect(read([{ day, model: "m", input_tokens: 9, reasoning_tokens: "12345678901234567", cost_usd: "1.5" }])).toEqual({
    form: "weir",
    rows: [
      {
        day,
        model: "m",
        counts: { input_tokens: 9n, reasoning_tokens: 12_345_678_901_234_567n, cost_usd: 1_500_000_000n },
      },
    ],
    days: [day],
    classes: new Set(["input_tokens", "reasoning_tokens", "cost_usd"]),
  });
});

test("OpenAI's page: cached tokens are a part of its input, calls are requests", () => {
  const counts = { input_tokens: 5_000n, cached_input_tokens: 4_000n, output_tokens: 1_000n, requests: 5n };
  expect(read(openAiPage([openAiResult]))).toEqual({
    form: "openai",
    rows: [{ day, model: "gpt-4o-mini", counts }],
    days: [day],
    classes: new Set(["input_tokens", "cached_input_tokens", "output_tokens", "requests"]),
  });
  const newer = read(openAiPage([{ ...openAiResult, input_cache_write_tokens: 30 }]));
  expect(newer.rows[0]?.counts).toEqual({ ...counts, cache_write_tokens: 30n });
  expect(newer.classes).toContain("cache_write_tokens");
});

test("Anthropic's page: its three kinds of input make the whole, both lifetimes the writes", () => {
  expect(read(anthropicPage([anthropicResult]))).toEqual({
    form: "anthropic",
    rows: [
      {
        day,
        model: "claude-sonnet-4-20250514",
        counts: {
          input_tokens: 3_200n,
          cached_input_tokens: 200n,
          cache_write_tokens: 1_500n,
          cache_write_long_tokens: 1_000n,
          output_tokens: 500n,
        },
      },
    ],
    days: [day],
    classes: new Set([
      "input_tokens",
      "cached_input_tokens",
      "cache_write_tokens",
      "cache_write_long_tokens",
      "output_tokens",
    ]),
  });
});

test("several pages are a list; days without usage are told, and hours belong to their day", () => {
  const hours = openAiPage([openAiResult]);
  const pages = [
    { ...openAiPage([]), has_more: true },
    { ...hours, data: hours.data.map((bucket) => ({ ...bucket, start_time: startTime + 82_800 })) },
  ];
  expect(read(pages)).toMatchObject({ days: [day], rows: [{ day }] });
  expect(read(anthropicPage([]))).toMatchObject({ days: [day], rows: [] });
});

test.each(["csv", "json"])("the examples of the page in %s are read", (language) => {
  const blocks = blocksOf("docs/reconcile.md", language);
  expect(blocks).toHaveLength(1);
  for (const block of blocks)
    expect(readUsageExport(block)).toMatchObject({ form: "weir", days: expect.arrayContaining([day]) });
});

const secret = "sk-secret";

test.each([
  ["", "CSV with a line of names first"],
  [`${secret},b\n1,2`, "CSV with a line of names first"],
  [`day,model,${secret}\n2026-11-20,m,1`, "row 2 has a column that is not known"],
  ["day,model,output_tokens\n2026-11-20,m", "row 2 has another number of columns"],
  ["day,model,day\n", "one twice"],
  ["day,model,output_tokens\n", "it counts nothing"],
  ["day,model\n2026-11-20,m", "it counts nothing"],
  [`day,model,output_tokens\n${secret},m,1`, "row 2: expected a day"],
  ["day,model,output_tokens\n2026-02-31,m,1", "row 2: expected a day"],
  ["day,model,output_tokens\n2026-11-20,,1", "row 2: expected a text as `model`"],
  [`day,model,output_tokens\n2026-11-20,m,${secret}`, "row 2: expected a whole number as `output_tokens`"],
  ["day,model,output_tokens\n2026-11-20,m,-1", "row 2: expected a whole number"],
  ["day,model,cost_usd\n2026-11-20,m,1e-3", "row 2: expected USD as decimal text"],
  [`"${secret}"x,day\n`, "a quote stands where none may"],
  [`{"${secret}`, "begins as JSON and is none"],
  [JSON.stringify({ [secret]: 1 }), "none of the forms that are known"],
  ["[]", "none of the forms that are known"],
  ["[1]", "none of the forms that are known"],
  [JSON.stringify([{ day, model: "m", cost_usd: 0.5 }]), "row 1: expected USD as decimal text"],
  [JSON.stringify([{ day, model: "m", output_tokens: 2 ** 53 }]), "row 1: expected a whole number"],
  [JSON.stringify(openAiPage([], { data: [] })), "it tells of no day"],
  [JSON.stringify(openAiPage([], { has_more: true })), "goes on behind the last page"],
  [JSON.stringify(openAiPage([{ ...openAiResult, model: null }])), "group_by=model"],
  [
    JSON.stringify(openAiPage([{ ...openAiResult, object: "organization.costs.result" }])),
    "expected usage of completions",
  ],
  [JSON.stringify(openAiPage([{ ...openAiResult, output_tokens: null }])), "result 1: `output_tokens` is missing"],
  [
    JSON.stringify({
      object: "page",
      data: [{ start_time: startTime, end_time: startTime + 2 * 86_400, results: [] }],
    }),
    "no part of one UTC day",
  ],
  [
    JSON.stringify({ object: "page", data: [{ start_time: 2, end_time: 1, results: [] }] }),
    "a later one at which it ends",
  ],
  [JSON.stringify(anthropicPage([{ ...anthropicResult, model: null }])), "group_by[]=model"],
  [JSON.stringify(anthropicPage([{ amount: "123.45", currency: "USD" }])), "expected usage of messages"],
  [JSON.stringify(anthropicPage([{ ...anthropicResult, cache_creation: 3 }])), "cache_creation: expected an object"],
  [JSON.stringify({ data: [{ starting_at: secret, ending_at: secret, results: [] }] }), "expected a time"],
])("a file with a fault is refused, and nothing of it quoted: %s", (text, fault) => {
  let message = "";
  try {
    readUsageExport(text);
  } catch (error) {
    expect(error).toMatchObject({ name: "ExportError" });
    message = String(error);
  }
  expect(message).toContain(fault);
  expect(message).not.toContain(secret);
});
