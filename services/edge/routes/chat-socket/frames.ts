import { createRegistry, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { scanMembers } from "@weir/dialect/json-scan";
import { ErrorInfoSchema, RetryInfoSchema } from "@weir/gen/google/rpc/error_details_pb";
import { StatusSchema } from "@weir/gen/google/rpc/status_pb";
import {
  type ChatSocketRequest,
  ChatSocketRequestSchema,
  type ChatSocketResponse,
  ChatSocketResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_socket_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { toStatus } from "@weir/kit/status";
import { WeirError } from "@weir/kit/weir-error";

/** How deep a message may nest, in either form; as deep as the decoder of the binary form goes. */
const depthMax = 100;
const registry = createRegistry(ErrorInfoSchema, RetryInfoSchema);

/** @throws WeirError INVALID_REQUEST, whose text does not quote the message */
export function readRequest(data: Buffer, isBinary: boolean): ChatSocketRequest {
  try {
    if (isBinary) return fromBinary(ChatSocketRequestSchema, data);
    if (scanMembers(data, noMembers, depthMax)?.tooDeep !== false) throw new Error("no object, or too deep");
    return fromJsonString(ChatSocketRequestSchema, utf8.decode(data));
  } catch {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: `The message is no weir.chat.v1.ChatSocketRequest in ${isBinary ? "protobuf's binary form" : "proto JSON"}.`,
    });
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const noMembers: ReadonlySet<string> = new Set();

export function writeResponse(response: ChatSocketResponse, isBinary: boolean): Uint8Array | string {
  if (isBinary) return toBinary(ChatSocketResponseSchema, response);
  return toJsonString(ChatSocketResponseSchema, response, { registry });
}

/** A failure as google.rpc.Status. */
export function statusOf(error: WeirError) {
  const { code, message, details } = toStatus(error);
  return { $typeName: StatusSchema.typeName, code, message, details: details.map((any) => fromBinary(AnySchema, any)) };
}
