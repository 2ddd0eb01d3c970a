import type { IncomingHttpHeaders } from "node:http2";

/** How a gRPC stream ended. */
export interface StreamStatus {
  /** Status code of gRPC; 0 is OK. */
  readonly code: number;
  readonly message: string;
}

/** Whether headers are those of gRPC's messages; a proxy's page of an error, for one, is none. */
export function isGrpc(headers: IncomingHttpHeaders): boolean {
  return headers["content-type"]?.startsWith("application/grpc") === true;
}

/**
 * The status in trailers, or in the headers of an answer that is nothing but a status; undefined when there is none.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
 */
export function readStatus(headers: IncomingHttpHeaders): StreamStatus | undefined {
  const code = headers["grpc-status"];
  if (typeof code !== "string") return undefined;
  return { code: Number(code), message: decodeMessage(headers["grpc-message"]) };
}

function decodeMessage(value: string | string[] | undefined): string {
  const text = typeof value === "string" ? value : "";
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
