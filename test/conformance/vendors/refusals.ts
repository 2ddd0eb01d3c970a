import type { RefusalStatus } from "./script.ts";

/** An error as a vendor sends it: the body, and headers where it says something in them. */
export interface Refusal {
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Words that only a vendor says; they must not come to clients of other dialects, nor into logs. */
export const vendorWords = "The vendor's own words.";

/** How a vendor words each status. */
export type Refusals = Readonly<Record<RefusalStatus, Refusal>>;

/** https://platform.openai.com/docs/guides/error-codes */
export const openaiRefusals: Refusals = {
  400: { body: openaiError("invalid_request_error", "invalid_value", "messages") },
  429: { body: openaiError("requests", "rate_limit_exceeded", null) },
  500: { body: openaiError("server_error", null, null) },
};

/** https://platform.claude.com/docs/en/api/errors */
export const anthropicRefusals: Refusals = {
  400: { body: anthropicError("invalid_request_error") },
  429: { body: anthropicError("rate_limit_error") },
  500: { body: anthropicError("api_error") },
};

/** https://ai.google.dev/gemini-api/docs/troubleshooting */
export const geminiRefusals: Refusals = {
  400: { body: geminiError(400, "INVALID_ARGUMENT") },
  429: {
    body: geminiError(429, "RESOURCE_EXHAUSTED", [
      { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "7s" },
    ]),
  },
  500: { body: geminiError(500, "INTERNAL") },
};

/** https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors */
export const bedrockRefusals: Refusals = {
  400: { body: { message: vendorWords }, headers: { "x-amzn-errortype": "ValidationException" } },
  429: { body: { message: vendorWords }, headers: { "x-amzn-errortype": "ThrottlingException" } },
  500: { body: { message: vendorWords }, headers: { "x-amzn-errortype": "InternalServerException" } },
};

/** https://docs.ollama.com/api/errors */
export const ollamaRefusals: Refusals = {
  400: { body: { error: vendorWords } },
  429: { body: { error: vendorWords } },
  500: { body: { error: vendorWords } },
};

function openaiError(type: string, code: string | null, param: string | null): object {
  return { error: { message: vendorWords, type, param, code } };
}

function anthropicError(type: string): object {
  return { type: "error", error: { type, message: vendorWords }, request_id: "req_011CSHoEeqs5C35K2UUqR7Fy" };
}

function geminiError(code: number, status: string, details: readonly object[] = []): object {
  return { error: { code, message: vendorWords, status, ...(details.length === 0 ? {} : { details }) } };
}
