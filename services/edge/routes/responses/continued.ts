import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { itemsById, resolveReferences } from "@weir/dialect/openai-responses/stored/references";
import {
  type StoredRequest,
  type StoredTurn,
  withHistory,
  withInput,
} from "@weir/dialect/openai-responses/stored/request";
import { readWireRequest, wireRequest } from "@weir/dialect/wire-request";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import type { CallOptions, Metadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import type { Archive } from "./archive.ts";

/** A request with the items of stored responses in it that it refers to. */
export interface WholeRequest {
  readonly request: GenerateRequest;
  readonly asked: StoredRequest;
  /** What of it is the client's own: without those items. */
  readonly own: GenerateRequest;
}

/**
 * Puts items of the tenant's stored responses in the places of their ids. What is not found stays as it is.
 * @param bytesMax most bytes of the outputs in which they stand
 * @throws WeirError INVALID_REQUEST with `param`, STORE_UNAVAILABLE
 */
export async function withReferredItems(
  archive: Pick<Archive, "outputsWith">,
  request: GenerateRequest,
  asked: StoredRequest,
  bytesMax: number,
  metadata: Metadata,
  signal: CallOptions["signal"],
): Promise<WholeRequest> {
  const { wire } = request;
  const { references, input } = asked;
  if (wire === undefined || references.length === 0) return { request, asked, own: request };
  const items = itemsById(await archive.outputsWith({ itemIds: references, bytesMax, signal }, metadata));
  if (!references.some((id) => items.has(id))) return { request, asked, own: request };
  const { whole, rest } = resolveReferences(input, items);
  const body = asBuffer(wire.body);
  return {
    request: withBody(request, withInput(body, whole)),
    asked: { ...asked, input: whole },
    own: withBody(request, withInput(body, rest)),
  };
}

/**
 * The turns that a request continues, the oldest first; none when it begins a conversation.
 * @param bytesMax most bytes of all of them
 * @throws WeirError NOT_FOUND with `param`, when there is no such response that has an answer; INVALID_REQUEST, STORE_UNAVAILABLE
 */
export async function readHistory(
  archive: Archive,
  { previousResponseId }: StoredRequest,
  bytesMax: number,
  metadata: Metadata,
  signal: CallOptions["signal"],
): Promise<readonly StoredTurn[]> {
  if (previousResponseId === undefined) return [];
  try {
    const question = { responseId: previousResponseId, bytesMax, partial: false, signal };
    const { turns, state } = await archive.history(question, metadata);
    if (state === ResponseState.COMPLETED || state === ResponseState.INCOMPLETE) return turns;
  } catch (thrown) {
    if (!(thrown instanceof WeirError) || thrown.reason !== ErrorReason.NOT_FOUND) throw thrown;
  }
  throw new WeirError(ErrorReason.NOT_FOUND, {
    text: "There is no finished response of the id in `previous_response_id`; it, or one before it, may have been deleted, or have expired.",
    metadata: { param: "previous_response_id" },
  });
}

/** The request with what went before in its `input`. */
export function continued(
  request: GenerateRequest,
  asked: StoredRequest,
  turns: readonly StoredTurn[],
): GenerateRequest {
  const { wire } = request;
  if (wire === undefined || asked.previousResponseId === undefined) return request;
  return withBody(request, withHistory(asBuffer(wire.body), asked, turns));
}

/** The same request with another body. */
export function withBody(request: GenerateRequest, body: Buffer): GenerateRequest {
  const { wire } = request;
  if (wire === undefined) return request;
  const reading = readWireRequest(openaiResponses, body);
  return { ...request, wire: wireRequest(openaiResponses, reading, wire.stream, wire.headers) };
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
