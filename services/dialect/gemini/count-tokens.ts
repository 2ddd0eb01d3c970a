import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { memberNames, refuse, sortMembers } from "./members.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";

const names = memberNames("generateContentRequest contents systemInstruction tools generationConfig model");

/**
 * Reads the body of `countTokens`: the request whose input is to be counted, either under `generateContentRequest` or as the
 * members of the body itself. https://ai.google.dev/api/tokens
 * @throws WeirError INVALID_REQUEST with `param`; paths are those of the request
 */
export function readCountTokensRequest(body: JsonObject): GenerateRequest {
  const { known, rest } = sortMembers(body, names, "");
  const { generateContentRequest, ...members } = known;
  refuse(rest, "");
  if (generateContentRequest === undefined) return readRequest(members);
  if (members["contents"] !== undefined) {
    throw invalid("`contents` and `generateContentRequest` exclude each other.", "contents");
  }
  return readRequest(readObject(generateContentRequest, "generateContentRequest") ?? {});
}

/**
 * Writes the body of the Gemini API's `countTokens`.
 * @throws WeirError TARGET_UNSUPPORTED with `param`
 */
export function writeCountTokensRequest(request: GenerateRequest, options: RequestOptions): RequestWriting {
  const { body, warnings } = writeRequest(request, options);
  const model = options.model.startsWith("models/") ? options.model : `models/${options.model}`;
  return { body: { generateContentRequest: { model, ...body } }, warnings };
}

/** The tokens that an answer of `countTokens` reports; undefined when it reports none. */
export function readCountTokensAnswer({ totalTokens }: JsonObject): number | undefined {
  return Number.isInteger(totalTokens) && (totalTokens as number) >= 0 ? (totalTokens as number) : undefined;
}

/** Writes an answer of `countTokens`. */
export function writeCountTokensAnswer(totalTokens: number): string {
  return JSON.stringify({ totalTokens });
}
