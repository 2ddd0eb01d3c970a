import { reasonWord, type WeirError } from "@weir/kit/weir-error";
import type { JsonObject } from "./json.ts";

/** Told when the failure passes with time and nobody said how much. */
const retryAfterDefaultMs = 1_000;

/**
 * A failure as google.rpc.Status in proto JSON: the code of gRPC, a sentence, and as details ErrorInfo, BadRequest when a field is at
 * fault, RetryInfo when the same request may succeed later, and RequestInfo.
 * https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
 */
export function googleStatus(error: WeirError, requestId: string): JsonObject {
  const { row, message, metadata } = error;
  const { param } = metadata;
  const details = [
    { "@type": typeOf("ErrorInfo"), reason: reasonWord(error.reason), domain: "weir", metadata },
    ...(param === undefined
      ? []
      : [{ "@type": typeOf("BadRequest"), fieldViolations: [{ field: param, description: message }] }]),
    ...(row.retry === "never" ? [] : [{ "@type": typeOf("RetryInfo"), retryDelay: `${delayMs(error) / 1_000}s` }]),
    { "@type": typeOf("RequestInfo"), requestId },
  ];
  return { code: row.code, message, details };
}

function delayMs({ retryAfterMs }: WeirError): number {
  return Math.max(Math.ceil(retryAfterMs ?? retryAfterDefaultMs), 1);
}

function typeOf(detail: string): string {
  return `type.googleapis.com/google.rpc.${detail}`;
}
