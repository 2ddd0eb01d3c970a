import type { IncomingHttpHeaders } from "node:http";
import type { HeaderList } from "./http/exchange.ts";

/** Headers of ours that scripts of other origins may read. */
const exposed = [
  "x-request-id",
  "request-id",
  "x-provider-request-id",
  "x-weir-model",
  "x-weir-attempts",
  "x-weir-warnings",
  "x-weir-budget-remaining-usd",
  "openai-processing-ms",
  "retry-after",
  "retry-after-ms",
  "x-should-retry",
  "idempotency-replayed",
  "idempotency-stored",
  // Of answers of gRPC-Web that are nothing but trailers.
  "grpc-status",
  "grpc-message",
  "grpc-status-details-bin",
  ...["limit", "remaining", "reset"].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
  ...["requests", "tokens"].flatMap((of) =>
    ["limit", "remaining", "reset"].map((what) => `anthropic-ratelimit-${of}-${what}`),
  ),
].join(", ");
const preflightSeconds = 7_200;
const headerNames = /^[A-Za-z0-9-]+(?:\s*,\s*[A-Za-z0-9-]+)*$/;

/** Appends what a browser needs to let a script of an allowed origin read the answer; nothing for other callers. */
export function appendCorsHeaders(headers: IncomingHttpHeaders, origins: readonly string[], out: HeaderList): void {
  if (origins.length === 0) return;
  const any = origins.includes("*");
  // Whoever caches answers must know that others get other headers.
  if (!any) out.push("vary", "Origin");
  const { origin } = headers;
  if (origin === undefined || !(any || origins.includes(origin))) return;
  out.push("access-control-allow-origin", any ? "*" : origin, "access-control-expose-headers", exposed);
}

/** Headers of the answer to OPTIONS, beside those of every answer. @param allow the methods of the path */
export function optionsHeaders(headers: IncomingHttpHeaders, origins: readonly string[], allow: string): HeaderList {
  const out = ["allow", allow];
  const { origin } = headers;
  if (origin === undefined || headers["access-control-request-method"] === undefined) return out;
  if (!(origins.includes("*") || origins.includes(origin))) return out;
  out.push("access-control-allow-methods", allow, "access-control-max-age", String(preflightSeconds));
  const wanted = headers["access-control-request-headers"];
  if (wanted !== undefined && headerNames.test(wanted)) out.push("access-control-allow-headers", wanted);
  return out;
}
