import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Status } from "../status.ts";

/** The trailer that has an encoded google.rpc.Status. */
export const statusDetailsName = "grpc-status-details-bin";

/** An encoded google.rpc.Status. */
export function encodeStatus({ code, message, details }: Status): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(code);
  writer.tag(2, WireType.LengthDelimited).string(message);
  for (const detail of details) writer.tag(3, WireType.LengthDelimited).bytes(detail);
  return writer.finish();
}

/** The details in an encoded google.rpc.Status; none when it is not valid. */
export function decodeStatusDetails(bytes: Uint8Array): Uint8Array[] {
  const details: Uint8Array[] = [];
  try {
    const reader = new BinaryReader(bytes);
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
