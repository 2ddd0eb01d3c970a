import { writeJson } from "@weir/dialect/json";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { type ItemPage, listItems, pageOf } from "@weir/dialect/openai-responses/stored/input-items";
import { inputOf } from "@weir/dialect/openai-responses/stored/request";
import {
  asCancelled,
  asFailed,
  asInProgress,
  isResponseId,
  readResponseFacts,
} from "@weir/dialect/openai-responses/stored/response";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ResponseState, type StoredResponse } from "@weir/gen/weir/conversation/v1/response_pb";
import { callMetadata, type Metadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { principalHeaderFor } from "../../auth/caller.ts";
import type { BodyMemory } from "../../http/body.ts";
import { callsModels, type KeyedCall, type Route, versionedAsOpenai } from "../route.ts";
import { type Archive, endStateOf } from "./archive.ts";
import { asBuffer } from "./continued.ts";

/**
 * The routes by which clients come back for a response.
 * @param memory for answers: they are as long as what was stored, and stay until their client has read them
 */
export function createStoredRoutes(archive: Archive, memory: BodyMemory): Route[] {
  function answer({ exchange }: KeyedCall, body: string | Buffer): void {
    if (!memory.take(exchange, Buffer.byteLength(body))) {
      throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 });
    }
    exchange.answer(200, jsonHeaders, body);
  }

  return [
    ...route("GET", "", async (call) => {
      refuseStream(call);
      readInclude(call);
      answer(call, shown(await archive.get(idOf(call), metadataOf(call))));
    }),
    ...route("DELETE", "", async (call) => {
      const id = idOf(call);
      await archive.delete(id, metadataOf(call));
      answer(call, JSON.stringify({ id, object: "response", deleted: true }));
    }),
    ...route("POST", "/cancel", async (call) => {
      answer(call, shown(await archive.cancel(idOf(call), metadataOf(call))));
    }),
    ...route("GET", "/input_items", async (call) => {
      const page = readPage(call);
      const id = idOf(call);
      const question = { responseId: id, bytesMax: inputBytesMax, partial: true };
      const { turns } = await archive.history(question, metadataOf(call));
      const list = pageOf(listItems(id, inputOf(turns)), page);
      if (list === undefined) throw invalid("`after` names no item of this response.", "after");
      answer(call, writeJson(list));
    }),
  ];
}

/** Most bytes of a conversation whose items are listed: as many as can be stored in one. */
const inputBytesMax = 50_331_648;
const jsonHeaders = ["content-type", "application/json"];

function route(method: string, path: string, handle: (call: KeyedCall) => Promise<void>): Route[] {
  return versionedAsOpenai({
    method,
    path: `/responses/{id}${path}`,
    access: callsModels("responses"),
    voice: openaiResponses,
    handle,
  });
}

function metadataOf({ caller, exchange }: KeyedCall): Metadata {
  return callMetadata(principalHeaderFor(caller, undefined), exchange.id, exchange.trace);
}

/** @throws WeirError NOT_FOUND for what can be no id */
function idOf({ params: { id = "" } }: KeyedCall): string {
  if (!isResponseId(id)) throw new WeirError(ErrorReason.NOT_FOUND, { text: "There is no such response." });
  return id;
}

/** A response as the client gets it: what the store knows of its end goes before what its bytes say. */
function shown({ state, response }: StoredResponse): Buffer {
  const bytes = asBuffer(response);
  if (endStateOf(readResponseFacts(bytes)?.status ?? "") === state) return bytes;
  switch (state) {
    case ResponseState.IN_PROGRESS:
      return asInProgress(bytes);
    case ResponseState.CANCELLED:
      return asCancelled(bytes);
    default:
      return asFailed(bytes, lost);
  }
}

const lost = {
  code: "server_error",
  message: "The gateway's process that made this response ended before it was complete; send the request again.",
} as const;

function queryOf({ exchange }: KeyedCall): URLSearchParams {
  const { url = "" } = exchange.request;
  const at = url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
}

function refuseStream(call: KeyedCall): void {
  if (queryOf(call).get("stream") !== "true") return;
  throw invalid("A stored response is not streamed; leave `stream` out.", "stream");
}

/** https://platform.openai.com/docs/api-reference/responses/input-items */
function readPage(call: KeyedCall): ItemPage {
  readInclude(call);
  const query = queryOf(call);
  const order = query.get("order") ?? "desc";
  if (order !== "asc" && order !== "desc") throw invalid("`order` must be `asc` or `desc`.", "order");
  const limitText = query.get("limit") ?? "20";
  const limit = Number(limitText);
  if (!/^\d{1,3}$/.test(limitText) || limit < 1 || limit > 100)
    throw invalid("`limit` must be from 1 to 100.", "limit");
  return { order, limit, after: query.get("after") ?? undefined };
}

// What may be asked for besides; whatever a response and its input hold is there unasked.
const includable: ReadonlySet<string> = new Set([
  "code_interpreter_call.outputs",
  "computer_call_output.output.image_url",
  "file_search_call.results",
  "message.input_image.image_url",
  "message.output_text.logprobs",
  "reasoning.encrypted_content",
  "web_search_call.action.sources",
  "web_search_call.results",
]);

function readInclude(call: KeyedCall): void {
  const query = queryOf(call);
  const wrong = [...query.getAll("include"), ...query.getAll("include[]")].some((word) => !includable.has(word));
  if (wrong) throw invalid("`include` names what cannot be included.", "include");
}

function invalid(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param } });
}
