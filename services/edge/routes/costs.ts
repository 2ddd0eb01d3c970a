import { create, type Message } from "@bufbuild/protobuf";
import {
  CostDimensionSchema,
  type ExportUsageRequest,
  ExportUsageRequestSchema,
  type ExportUsageResponse,
  type ListAttemptsRequest,
  type ListCostsRequest,
  UsageService,
} from "@weir/gen/weir/metering/v1/usage_service_pb";
import { methodPath } from "@weir/kit/context";
import type { ReplyStream } from "@weir/kit/reply-stream";
import type { Exchange } from "../http/exchange.ts";
import type { OperationFacts, ParameterFacts } from "../openapi/operation.ts";
import type { PublicMethod, RpcFacts } from "../rpc/public-methods.ts";
import { invalid } from "../transcode/faults.ts";
import { type QueryPair, readQuery } from "../transcode/query.ts";
import type { MethodForm } from "../transcode/routes.ts";

type Table = Exclude<ExportUsageRequest["table"], { case: undefined }>;

/** An export goes on for as long as its client reads, but not for ever. */
const exportTimeoutMs = 600_000;

/**
 * What `GET /v1/costs`, `GET /v1/attempts` and `POST /v1/usage:export` have beside their rules: CSV where `format=csv` or the Accept
 * header asks for it, days in the place of times (they begin at midnight UTC), and dimensions in short: `dimensions=day,model`.
 * @param methods of which ExportUsage writes CSV; without it there is none
 */
export function createCostForms(methods: readonly PublicMethod[]): ReadonlyMap<string, MethodForm> {
  const { listCosts, listAttempts, exportUsage } = UsageService.method;
  const exporting = methods.find(({ desc }) => desc === exportUsage);
  if (exporting?.kind !== "stream") return new Map();
  const sendCsv = (exchange: Exchange, table: Table, facts: RpcFacts): Promise<void> => {
    const timeoutMs = Math.min(facts.timeoutMs ?? exportTimeoutMs, exportTimeoutMs);
    const request = create(ExportUsageRequestSchema, { table });
    return writeCsv(exchange, table.case, exporting.call(request, { ...facts, timeoutMs }));
  };
  const list = (toTable: (request: Message) => Table): MethodForm => ({
    query: shortForms,
    answer: ({ exchange }, request, facts) =>
      wantsCsv(exchange) ? sendCsv(exchange, toTable(request), facts) : undefined,
  });
  return new Map([
    [methodPath(listCosts), list((value) => ({ case: "costs", value: value as ListCostsRequest }))],
    [methodPath(listAttempts), list((value) => ({ case: "attempts", value: value as ListAttemptsRequest }))],
    [
      methodPath(exportUsage),
      {
        answer({ exchange }, request, facts) {
          const { table } = request as ExportUsageRequest;
          return table.case !== undefined && acceptsCsv(exchange) ? sendCsv(exchange, table, facts) : undefined;
        },
      },
    ],
  ]);
}

const format: ParameterFacts = {
  name: "format",
  in: "query",
  schema: { type: "string", enum: ["csv", "json"] },
  description: "The form of the answer; default: what the Accept header asks for, else json. CSV has all pages.",
};
const csv: OperationFacts["response"] = { "text/csv": { schema: { type: "string" } } };

/** What the document says of the same methods beside their rules, by path. */
export const costFacts: ReadonlyMap<string, Pick<OperationFacts, "parameters" | "response">> = new Map([
  [methodPath(UsageService.method.listCosts), { parameters: [format], response: csv }],
  [methodPath(UsageService.method.listAttempts), { parameters: [format], response: csv }],
  [methodPath(UsageService.method.exportUsage), { parameters: [], response: csv }],
]);

function acceptsCsv({ request }: Exchange): boolean {
  return request.headers.accept?.includes("text/csv") ?? false;
}

function wantsCsv(exchange: Exchange): boolean {
  const format = readQuery(exchange.request.url ?? "").find(({ name }) => name === "format");
  return format === undefined ? acceptsCsv(exchange) : format.value === "csv";
}

/** Parameters that a table with all of its pages cannot have. */
const pageNames: ReadonlySet<string> = new Set([
  "page_token",
  "pageToken",
  "page_size",
  "pageSize",
  "row_count_max",
  "rowCountMax",
]);

/** The query without `format`, with times and dimensions as proto JSON has them. */
function shortForms(query: readonly QueryPair[], { exchange }: { readonly exchange: Exchange }): QueryPair[] {
  const formats = query.filter(({ name }) => name === "format");
  if (formats.length > 1 || formats.some(({ value }) => value !== "csv" && value !== "json")) {
    throw invalid("`format` must be `csv` or `json`, once.", "format");
  }
  if (wantsCsv(exchange) && query.some(({ name }) => pageNames.has(name))) {
    throw invalid("`format`: csv has all pages; leave the page's size and token out.", "format");
  }
  return query
    .filter(({ name }) => name !== "format")
    .flatMap(({ name, value }) => {
      if (/^(?:start|end)(?:_t|T)ime$/.test(name)) return { name, value: timeOf(value) };
      if (name === "dimensions") return value.split(",").map((word) => ({ name, value: dimensionOf(word.trim()) }));
      return { name, value };
    });
}

function timeOf(text: string): string {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
}

const dimensionNames = new Map(
  CostDimensionSchema.values.map(({ name, localName }) => [localName.toLowerCase(), name]),
);

function dimensionOf(word: string): string {
  return dimensionNames.get(word) ?? word;
}

async function writeCsv(exchange: Exchange, name: string, reply: ReplyStream<Message>): Promise<void> {
  if (exchange.request.method === "HEAD") {
    exchange.begin(200, csvHeaders(name), false);
    exchange.end("");
    return;
  }
  exchange.onGone = () => void reply.return();
  // The head waits for the first page, so that a refusal has its own status.
  for await (const message of reply) {
    if (exchange.isSilent) exchange.begin(200, csvHeaders(name), false);
    if (exchange.write((message as ExportUsageResponse).csv)) continue;
    await exchange.writable();
    if (!exchange.isOver) exchange.clearAlarm();
  }
  if (exchange.isOver) return;
  exchange.onGone = undefined;
  if (exchange.isSilent) exchange.begin(200, csvHeaders(name), false);
  exchange.end("");
}

function csvHeaders(name: string): string[] {
  return [
    "content-type",
    "text/csv; charset=utf-8; header=present",
    "content-disposition",
    `attachment; filename="${name}.csv"`,
    "cache-control",
    "no-store",
  ];
}
