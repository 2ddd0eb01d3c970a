import { fromJson, type JsonValue, toJsonString } from "@bufbuild/protobuf";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  type ExportUsageRequest,
  ListAttemptsRequestSchema,
  ListAttemptsResponseSchema,
  ListCostsRequestSchema,
  ListCostsResponseSchema,
  type UsageService,
} from "@weir/gen/weir/metering/v1/usage_service_pb";
import { type CallOptions, callMetadata, type Client } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import type { Exchange } from "../http/exchange.ts";
import { type Access, type KeyedCall, type Route, versioned } from "./route.ts";

export interface CostsDeps {
  readonly usage: Pick<Client<typeof UsageService>, "listCosts" | "listAttempts" | "exportUsage">;
}

const readsCosts: Access = { permission: Permission.COSTS_READ, endpoint: "costs" };
const timeoutMs = 35_000;
/** An export goes on for as long as its client reads, but not for ever. */
const exportTimeoutMs = 600_000;

/**
 * `GET /v1/costs` and `GET /v1/attempts`: what the ledger says of the caller's tenant, and of no other. Parameters are
 * the fields of ListCostsRequest and ListAttemptsRequest; the answer is proto JSON, or CSV where `format=csv` or the Accept
 * header asks for it.
 */
export function createCostRoutes({ usage }: CostsDeps): Route[] {
  async function costs({ exchange, caller }: KeyedCall): Promise<void> {
    const { fields, csv } = readQuery(exchange, costFields, caller.tenant);
    const request = fromJson(ListCostsRequestSchema, fields);
    if (csv) return sendCsv(exchange, usage, { case: "costs", value: request });
    const answer = await leaving(exchange, (options) => usage.listCosts(request, options));
    exchange.answer(200, jsonHeaders, toJsonString(ListCostsResponseSchema, answer));
  }

  async function attempts({ exchange, caller }: KeyedCall): Promise<void> {
    const { fields, csv } = readQuery(exchange, attemptFields, caller.tenant);
    const request = fromJson(ListAttemptsRequestSchema, fields);
    if (csv) return sendCsv(exchange, usage, { case: "attempts", value: request });
    const answer = await leaving(exchange, (options) => usage.listAttempts(request, options));
    exchange.answer(200, jsonHeaders, toJsonString(ListAttemptsResponseSchema, answer));
  }

  return [
    ...versioned({ method: "GET", path: "/costs", access: readsCosts, handle: costs }),
    ...versioned({ method: "GET", path: "/attempts", access: readsCosts, handle: attempts }),
  ];
}

const jsonHeaders = ["content-type", "application/json; charset=utf-8", "cache-control", "no-store"];

/** Makes a call that ends when the client leaves. */
async function leaving<T>(exchange: Exchange, call: (options: CallOptions) => Promise<T>): Promise<T> {
  const left = new AbortController();
  exchange.onGone = () => left.abort();
  const answer = await call({ ...optionsOf(exchange), signal: left.signal, timeoutMs });
  exchange.onGone = undefined;
  return answer;
}

async function sendCsv(
  exchange: Exchange,
  usage: CostsDeps["usage"],
  table: Exclude<ExportUsageRequest["table"], { case: undefined }>,
): Promise<void> {
  const left = new AbortController();
  exchange.onGone = () => left.abort();
  const options = { ...optionsOf(exchange), signal: left.signal, timeoutMs: exportTimeoutMs };
  // The head waits for the first page, so that a refusal has its own status.
  for await (const { csv } of usage.exportUsage({ table }, options)) {
    if (exchange.isSilent) exchange.begin(200, csvHeaders(table.case), false);
    if (!exchange.write(csv)) await exchange.writable();
  }
  exchange.onGone = undefined;
  exchange.end("");
}

function optionsOf({ id, caller, trace }: Exchange): CallOptions {
  return { metadata: callMetadata(caller?.principalHeader, id, trace?.traceParent) };
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

/** Reads the text of a parameter as the JSON of its field. @returns undefined when it is none */
type ReadField = (text: string) => JsonValue | undefined;

const anyText: ReadField = (text) => text;
const count: ReadField = (text) => (/^\d{1,5}$/.test(text) ? Number(text) : undefined);
/** RFC 3339, or a day, which begins at midnight UTC. */
const time: ReadField = (text) => {
  const full = /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
  const ms = Date.parse(full);
  return timeShape.test(full) && ms >= 0 && ms <= timeMaxMs ? full : undefined;
};
/** A Timestamp holds no later year. */
const timeMaxMs = Date.UTC(9999, 0, 1);
const timeShape = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;
/** `day,model`. */
const dimensions: ReadField = (text) => {
  const names = text.split(",").map((name) => dimensionNames.get(name.trim()));
  return names.includes(undefined) || new Set(names).size !== names.length ? undefined : (names as string[]);
};
const dimensionNames = new Map(
  ["day", "tenant", "key", "alias", "provider", "model", "user", "tag"].flatMap((word) => {
    const name = `COST_DIMENSION_${word.toUpperCase()}`;
    return [
      [word, name],
      [name, name],
    ];
  }),
);

const sharedFields: Readonly<Record<string, ReadField>> = {
  start_time: time,
  end_time: time,
  page_token: anyText,
  tenant: anyText,
  key: anyText,
  user: anyText,
  alias: anyText,
  provider: anyText,
  model: anyText,
  tag: anyText,
};
const costFields = { ...sharedFields, dimensions, row_count_max: count };
const attemptFields = { ...sharedFields, request_id: anyText, page_size: count };

const textLengthMax = 8_192;

/**
 * @param known fields by their names, which may also be written in lowerCamelCase
 * @throws WeirError INVALID_REQUEST that names the parameter at fault, for another tenant's, too
 */
function readQuery(
  { request }: Exchange,
  known: Readonly<Record<string, ReadField>>,
  tenant: string,
): { readonly fields: Record<string, JsonValue>; readonly csv: boolean } {
  const fields: Record<string, JsonValue> = {};
  let csv = request.headers.accept?.includes("text/csv") ?? false;
  const [, ...query] = (request.url ?? "").split("?");
  for (const [given, text] of new URLSearchParams(query.join("?"))) {
    const name = given.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (name === "format") {
      if (text !== "csv" && text !== "json") throw invalid("format", "must be `csv` or `json`");
      csv = text === "csv";
      continue;
    }
    const read = Object.hasOwn(known, name) ? known[name] : undefined;
    if (read === undefined) throw invalid("", `may be ${Object.keys(known).join(", ")} and format`);
    if (Object.hasOwn(fields, name)) throw invalid(name, "stands twice");
    const value = text.length > textLengthMax ? undefined : read(text);
    if (value === undefined) throw invalid(name, "has a value that it cannot have");
    fields[name] = value;
  }
  if (fields["tenant"] !== undefined && fields["tenant"] !== tenant) {
    throw invalid("tenant", "must be the key's own tenant");
  }
  if (csv && (fields["page_token"] ?? fields["page_size"] ?? fields["row_count_max"]) !== undefined) {
    throw invalid("format", "csv has all pages: leave the page's size and token out");
  }
  return { fields: { ...fields, tenant }, csv };
}

function invalid(param: string, fault: string): WeirError {
  const subject = param === "" ? "Parameters" : `\`${param}\``;
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `${subject} ${fault}.`,
    metadata: param === "" ? {} : { param },
  });
}
