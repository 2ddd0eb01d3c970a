import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

const textType = /^application\/grpc-web-text(?:\+proto)?\s*(?:;|$)/i;

/** Whether a body is gRPC-Web in base 64. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2 */
export function isText(contentType: string | undefined): boolean {
  return contentType !== undefined && textType.test(contentType);
}

const base64Shape = /^[A-Za-z0-9+/]*={0,2}$/;

/** @throws WeirError INVALID_REQUEST when it is no base 64 */
export function fromText(body: Buffer): Buffer {
  const text = body.toString("latin1");
  if (text.length % 4 !== 0 || !base64Shape.test(text)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not base 64." });
  }
  return Buffer.from(text, "base64");
}

/** One padded piece; clients read pieces that follow each other. */
export function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
