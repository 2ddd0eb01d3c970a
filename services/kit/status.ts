import { AnySchema } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { decode, encodeToBytes } from "./codec.ts";
import { fromConnectError, toConnectError, type WeirError } from "./weir-error.ts";

/** A failure as it travels: the fields of google.rpc.Status, https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto */
export interface Status {
  /** Status code of gRPC. */
  readonly code: number;
  readonly message: string;
  /** Encoded google.protobuf.Any messages. */
  readonly details: readonly Uint8Array[];
}

export function toStatus(error: WeirError): Status {
  const { code, rawMessage, details } = toConnectError(error);
  return {
    code,
    message: rawMessage,
    details: details.map((detail) => {
      const { desc, value } = detail as { desc: DescMessage; value: MessageInitShape<DescMessage> };
      return encodeToBytes(AnySchema, {
        typeUrl: `type.googleapis.com/${desc.typeName}`,
        value: encodeToBytes(desc, value),
      });
    }),
  };
}

/** Details that are not valid are left out. */
export function fromStatus(status: Status): WeirError {
  const error = new ConnectError(status.message, status.code);
  error.details = status.details.flatMap((bytes) => {
    try {
      const { typeUrl, value } = decode(AnySchema, bytes);
      return [{ type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value }];
    } catch {
      return [];
    }
  });
  return fromConnectError(error);
}
