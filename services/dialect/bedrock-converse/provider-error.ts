import type { ProviderError } from "../codec.ts";
import type { JsonObject } from "../json.ts";

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors
const statuses: ReadonlyMap<string, number> = new Map([
  ["AccessDeniedException", 403],
  ["InternalServerException", 500],
  ["ModelErrorException", 424],
  ["ModelNotReadyException", 429],
  ["ModelStreamErrorException", 424],
  ["ModelTimeoutException", 408],
  ["ResourceNotFoundException", 404],
  ["ServiceQuotaExceededException", 400],
  ["ServiceUnavailableException", 503],
  ["ThrottlingException", 429],
  ["ValidationException", 400],
]);

/**
 * The error that a body or a frame's data reports. Its type is mostly in a header (`x-amzn-errortype`, `:exception-type`)
 * and not in the body, which has little more than a message.
 * @param named what the header says; empty when it is not known
 * @returns undefined when the body is an answer
 */
export function readProviderError(body: JsonObject, named = ""): ProviderError | undefined {
  const told = body["message"] ?? body["Message"];
  if (named === "" && (body["output"] !== undefined || (told === undefined && body["__type"] === undefined))) {
    return undefined;
  }
  return { code: readCode(body, told), ...readErrorType(named === "" ? body["__type"] : named) };
}

/** The class of an error, from `x-amzn-errortype` or its like, and the status that is documented for it; its type is empty when it is none. */
export function readErrorType(named: unknown): Pick<ProviderError, "type" | "status"> {
  const type = typeName(named);
  const status = statuses.get(type);
  return { type, ...(status === undefined ? {} : { status }) };
}

/** A word for what only the message or the model's own status tells. */
function readCode(body: JsonObject, message: unknown): string {
  if (typeof message === "string" && isTooLong.test(message)) return "context_length_exceeded";
  const status = body["originalStatusCode"];
  return Number.isInteger(status) ? String(status) : "";
}

// "Input is too long for requested model.", "prompt is too long: 210000 tokens > 200000 maximum" and the like.
const isTooLong = /\b(?:input|prompt) is too long\b|\bexceeds? (?:the )?(?:model'?s? )?(?:maximum )?context\b/i;

/** `ThrottlingException` of `com.amazonaws.bedrock#ThrottlingException:http://...` or of `throttlingException`. */
function typeName(value: unknown): string {
  if (typeof value !== "string") return "";
  const [, name = ""] = /^(?:[\w.]*#)?(\w{1,64})(?:$|:)/.exec(value) ?? [];
  return name.charAt(0).toUpperCase() + name.slice(1);
}
