import { withPlainNames } from "@weir/dialect/parse-json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/**
 * JSON for a handler that reads it by `JSON.parse`: names of members are written without escapes, of which that function takes some for
 * others. The same bytes where there is none.
 * @throws WeirError INVALID_REQUEST for a name that cannot do without: it holds a quote, a backslash, a control character or a lone surrogate
 */
export function readableJson(bytes: Buffer): Buffer {
  if (!bytes.includes("\\")) return bytes;
  const text = bytes.toString();
  const readable = plain(text);
  return readable === text ? bytes : Buffer.from(readable);
}

/**
 * The same for the message of a GET. What is no message is left to the handler.
 * https://connectrpc.com/docs/protocol/#unary-get-request
 * @param query with its question mark, or empty
 */
export function readableQuery(query: string): string {
  const params = new URLSearchParams(query);
  const message = params.get("message");
  if (message === null || params.get("encoding") !== "json") return query;
  const bytes = Buffer.from(message, params.get("base64") === "1" ? "base64" : "utf8");
  const readable = readableJson(bytes);
  if (readable === bytes) return query;
  params.set("message", readable.toString("base64url"));
  params.set("base64", "1");
  return `?${params.toString()}`;
}

function plain(text: string): string {
  let readable: string | undefined;
  try {
    readable = withPlainNames(text);
  } catch {
    return text; // no JSON; the handler says so
  }
  if (readable !== undefined) return readable;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "A name of a member holds a quote, a backslash or a control character.",
  });
}
