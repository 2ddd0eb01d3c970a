import type { IncomingHttpHeaders } from "node:http2";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Metadata } from "../call.ts";
import type { Status } from "../status.ts";
import { WeirError } from "../weir-error.ts";
import { acceptedEncodings } from "./unpack.ts";
import { encodeStatus, statusDetailsName } from "./status-details.ts";

// How gRPC writes a call into the fields of HTTP/2: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

const beginning = { ":status": "200", "content-type": "application/grpc", "grpc-accept-encoding": acceptedEncodings };
const beginningInTurn: readonly string[] = Object.entries(beginning).flat();

/** What every answer begins with; a new object for each. */
export function answerFields(): Record<string, string> {
  return { ...beginning };
}

/** The same as names and values in turn, which node:http2 takes for less; a new array for each. */
export function answerHead(): string[] {
  return beginningInTurn.slice();
}

/** Adds fields to a head that has none of their names. */
export function addFields(head: string[], fields: Metadata): void {
  for (const name in fields) head.push(name, fields[name] as string);
}

/** What HTTP/2 and gRPC say to each other, beside the names that begin with a colon; it is no metadata. */
const ownNames: ReadonlySet<string> = new Set([
  "accept-encoding",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-timeout",
  "te",
]);

/** The metadata of a request. Values of `-bin` names become base64 with its padding, several values of one name one text. */
export function metadataOf(headers: IncomingHttpHeaders): Metadata {
  const metadata: Record<string, string> = { __proto__: null } as never;
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(":") || ownNames.has(name)) continue;
    const text = typeof value === "string" ? value : value.join(", ");
    metadata[name] = name.endsWith("-bin") ? paddedBase64(text) : text;
  }
  return metadata;
}

function paddedBase64(text: string): string {
  return text
    .split(",")
    .map((value) => Buffer.from(value, "base64").toString("base64"))
    .join(", ");
}

const validName = /^[0-9a-z_.-]+$/;
const validValue = /^[ -~]*$/;

/** Puts metadata into fields, name by name. @throws Error for what gRPC cannot carry */
export function addMetadata(fields: Record<string, string>, metadata: Metadata): void {
  for (const [name, value] of Object.entries(metadata)) {
    if (!validName.test(name) || !validValue.test(value)) throw new Error(`gRPC cannot carry the metadata ${name}`);
    fields[name] = name.endsWith("-bin") ? unpaddedBase64(Buffer.from(value, "base64")) : value;
  }
}

function unpaddedBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64").replace(/=+$/, "");
}

/** Puts the outcome of a call that failed into fields, with its details. */
export function addStatus(fields: Record<string, string>, status: Status): void {
  fields["grpc-status"] = String(status.code);
  fields["grpc-message"] = percentEncoded(status.message);
  if (status.details.length > 0) fields[statusDetailsName] = unpaddedBase64(encodeStatus(status));
}

/** https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses, `Percent-Encoded` */
function percentEncoded(text: string): string {
  if (/^[ -$&-~]*$/.test(text)) return text;
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

const unitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** The time that a call has, in milliseconds; undefined: as much as it takes. @throws WeirError INVALID_REQUEST */
export function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const text = headers["grpc-timeout"];
  if (text === undefined) return undefined;
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(text)) ?? [];
  if (digits === undefined) throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "grpc-timeout is no time." });
  return Number(digits) * (unitsMs[unit] as number);
}

/** Whether a request's content is gRPC with messages in protobuf. */
export function isGrpcRequest(headers: IncomingHttpHeaders): boolean {
  const type = headers["content-type"];
  if (type === "application/grpc" || type === "application/grpc+proto") return true;
  return type !== undefined && /^application\/grpc(?:\+proto)?\s*(?:;|$)/i.test(type);
}
