import type { ProviderError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";

/** The error that an answer or a chunk reports: under `error`, or as the whole of it, which is vLLM's old way. */
export function readProviderError(json: JsonObject): ProviderError | undefined {
  const error = json["error"];
  if (isObject(error)) return readMembers(error);
  if (json["object"] === "error") return readMembers(json);
  return error == null || error === false || error === "" ? undefined : { code: "", type: "" };
}

function readMembers({ code, type, message }: JsonObject): ProviderError {
  const isTooLong = type === llamaTooLong || (typeof message === "string" && vllmTooLong.test(message));
  return { code: isTooLong ? "context_length_exceeded" : word(code), type: word(type) };
}

/** llama.cpp's word: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md */
const llamaTooLong = "exceed_context_size_error";

/**
 * vLLM has no word for it: https://github.com/vllm-project/vllm/issues/20409, and since version 0.16
 * https://github.com/harbor-framework/harbor/pull/996
 */
const vllmTooLong =
  /^This model's maximum context length is \d+ tokens|^You passed \d+ input tokens and requested \d+ output tokens\. However, the model's context length is only \d+ tokens/;

/** A code or type; anything that is not one short word is prose. */
function word(value: unknown): string {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && /^[\w.-]{1,64}$/.test(value) ? value : "";
}
