import { isObject } from "@weir/dialect/json";
import { parseJson } from "@weir/dialect/parse-json";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type Names, namesIn } from "./kept-names.ts";
import { countMembers } from "./member-scan.ts";

/**
 * What a request for a model's reply names of what providers keep. Reads all of it: ask `mayName` of its bytes before.
 * @throws WeirError INVALID_REQUEST as namesInBody
 */
export function namesOfRequest({ wire, ...request }: GenerateRequest): Names {
  return wire === undefined ? namesIn(request) : namesInBody(wire.body);
}

/**
 * What a body names, or an event of Realtime.
 * @param inSession as for namesIn
 * @throws WeirError INVALID_REQUEST when it is no JSON, or where a member stands twice: its provider might take the one of which this
 * process knows nothing
 */
export function namesInBody(body: Uint8Array, inSession = false): Names {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  return namesInJson(body, parse(text), inSession);
}

/** The same where the body was read already. */
export function namesInJson(body: Uint8Array, json: unknown, inSession = false): Names {
  if (countMembers(body) !== membersOf(json)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "A request that names what a provider keeps has a member that stands more than once.",
    });
  }
  return namesIn(json, inSession);
}

/** How many members are left when JSON has been read. */
function membersOf(value: unknown): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + membersOf(item), 0);
  if (!isObject(value)) return 0;
  const members = Object.values(value);
  return members.reduce<number>((sum, member) => sum + membersOf(member), members.length);
}

function parse(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not JSON." });
  }
}
