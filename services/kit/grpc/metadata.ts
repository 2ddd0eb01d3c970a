import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Metadata as GrpcMetadata } from "@grpc/grpc-js";
import type { Metadata } from "../call.ts";
import type { Status } from "../status.ts";

const statusDetails = "grpc-status-details-bin";

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

/** Puts a status with its details into trailers, as an encoded google.rpc.Status. */
export function setStatusDetails(metadata: GrpcMetadata, { code, message, details }: Status): void {
  if (details.length === 0) return;
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(code);
  writer.tag(2, WireType.LengthDelimited).string(message);
  for (const detail of details) writer.tag(3, WireType.LengthDelimited).bytes(detail);
  metadata.set(statusDetails, Buffer.from(writer.finish()));
}

/** The details in a server's trailers; none when they are missing or not valid. */
export function getStatusDetails(metadata: GrpcMetadata): Uint8Array[] {
  const [value] = metadata.get(statusDetails);
  if (value === undefined || typeof value === "string") return [];
  const details: Uint8Array[] = [];
  try {
    const reader = new BinaryReader(value);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 3 && wireType === WireType.LengthDelimited) details.push(reader.bytes());
      else reader.skip(wireType, field);
    }
  } catch {
    return [];
  }
  return details;
}
