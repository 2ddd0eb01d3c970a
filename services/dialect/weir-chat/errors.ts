import type { WeirError } from "@weir/kit/weir-error";
import type { ProviderError, RenderedError } from "../codec.ts";
import { googleStatus } from "../google-status.ts";
import { isObject, type JsonObject } from "../json.ts";
import { renderError as renderOpenai } from "../openai/errors.ts";

/**
 * google.rpc.Status as proto JSON, under `error`: https://cloud.google.com/apis/design/errors. Status line and headers are those
 * of every other dialect.
 */
export function renderError(error: WeirError, requestId: string): RenderedError {
  const { status, headers } = renderOpenai(error);
  return { status, headers, body: statusBody(error, requestId) };
}

/** A stream that ends with it has failed. */
export function renderErrorEvent(error: WeirError, requestId: string): string {
  return `event: error\ndata: ${statusBody(error, requestId)}\n\n`;
}

/** The error of a body, or of a frame. */
export function readError(body: JsonObject): ProviderError | undefined {
  const { error } = body;
  if (!isObject(error)) return undefined;
  const [info] = Array.isArray(error["details"]) ? (error["details"] as unknown[]) : [];
  const reason = isObject(info) ? info["reason"] : undefined;
  return { code: typeof reason === "string" && /^\w{1,64}$/.test(reason) ? reason : "", type: "" };
}

function statusBody(error: WeirError, requestId: string): string {
  return JSON.stringify({ error: googleStatus(error, requestId) });
}
