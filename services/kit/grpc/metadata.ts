import { Metadata as GrpcMetadata } from "@grpc/grpc-js";
import type { Metadata } from "../call.ts";
import { decodeStatusDetails, statusDetailsName } from "./status-details.ts";

/** Values of `-bin` names become base64, several values of one name one text. */
export function fromGrpcMetadata(metadata: GrpcMetadata): Metadata {
  const entries: Record<string, string> = { __proto__: null } as never;
  for (const name of Object.keys(metadata.getMap())) {
    entries[name] = metadata
      .get(name)
      .map((value) => (typeof value === "string" ? value : value.toString("base64")))
      .join(", ");
  }
  return entries;
}

export function toGrpcMetadata(metadata: Metadata): GrpcMetadata {
  const result = new GrpcMetadata();
  for (const [name, value] of Object.entries(metadata)) {
    result.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  return result;
}

/** The details in a server's trailers; none when they are missing or not valid. */
export function getStatusDetails(metadata: GrpcMetadata): Uint8Array[] {
  const [value] = metadata.get(statusDetailsName);
  return value === undefined || typeof value === "string" ? [] : decodeStatusDetails(value);
}
