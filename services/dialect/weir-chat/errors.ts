import { reasonWord, type WeirError } from "@weir/kit/weir-error";
import type { ProviderError, RenderedError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { renderError as renderOpenai } from "../openai/errors.ts";

/**
 * google.rpc.Status as proto JSON, with ErrorInfo: https://cloud.google.com/apis/design/errors. Status line and headers are those
 * of every other dialect.
 */
export function renderError(error: WeirError): RenderedError {
  const { status, headers } = renderOpenai(error);
  return { status, headers, body: statusBody(error) };
}

/** A stream that ends with it has failed. */
export function renderErrorEvent(error: WeirError): string {
  return `event: error\ndata: ${statusBody(error)}\n\n`;
}

/** The error of a body, or of a frame. */
export function readError(body: JsonObject): ProviderError | undefined {
  const { error } = body;
  if (!isObject(error)) return undefined;
  const [info] = Array.isArray(error["details"]) ? (error["details"] as unknown[]) : [];
  const reason = isObject(info) ? info["reason"] : undefined;
  return { code: typeof reason === "string" && /^\w{1,64}$/.test(reason) ? reason : "", type: "" };
}

function statusBody(error: WeirError): string {
  const info = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    reason: reasonWord(error.reason),
    domain: "weir",
    metadata: error.metadata,
  };
  return JSON.stringify({ error: { code: error.row.code, message: error.message, details: [info] } });
}
