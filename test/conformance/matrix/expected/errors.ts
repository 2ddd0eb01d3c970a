import type { RefusalStatus } from "../../vendors/script.ts";
import type { Raised } from "../client.ts";
import type { ClientName } from "../clients.ts";

/** What of a failure is the same whatever its text says. */
export type RaisedWords = Omit<Raised, "message">;

/** How a library raises what a vendor answers with an error. */
export interface RaisedErrors {
  /** 429, with the seconds after which the vendor wants to be asked again. */
  readonly limited: RaisedWords;
  /** 500. */
  readonly failed: RaisedWords;
  /** 400 of a vendor that speaks another dialect. */
  readonly rejected: RaisedWords;
  /** 400 of a vendor that speaks the library's dialect, whose own answer it gets. */
  readonly rejectedByOwn: RaisedWords;
  /** What the target cannot express, by the name of the parameter. */
  unsupported(param: string): RaisedWords;
}

const openai: RaisedErrors = {
  limited: {
    name: "RateLimitError",
    status: 429,
    words: ["requests", "rate_limit_exceeded", null],
    retryAfter: "7",
  },
  failed: { name: "InternalServerError", status: 503, words: ["server_error", null, null], retryAfter: "1" },
  rejected: { name: "BadRequestError", status: 400, words: ["invalid_request_error", "provider_rejected", null] },
  rejectedByOwn: {
    name: "BadRequestError",
    status: 400,
    words: ["invalid_request_error", "invalid_value", "messages"],
  },
  unsupported: (param) => ({
    name: "BadRequestError",
    status: 400,
    words: ["invalid_request_error", "unsupported_parameter", param],
  }),
};

const anthropic: RaisedErrors = {
  limited: { name: "RateLimitError", status: 429, words: ["rate_limit_error"], retryAfter: "7" },
  failed: { name: "OverloadedError", status: 529, words: ["overloaded_error"], retryAfter: "1" },
  rejected: { name: "BadRequestError", status: 400, words: ["invalid_request_error"] },
  rejectedByOwn: { name: "BadRequestError", status: 400, words: ["invalid_request_error"] },
  unsupported: () => ({ name: "BadRequestError", status: 400, words: ["invalid_request_error"] }),
};

const google: RaisedErrors = {
  limited: { name: "ApiError", status: 429, words: ["RESOURCE_EXHAUSTED"], retryAfter: "7s" },
  failed: { name: "ApiError", status: 503, words: ["UNAVAILABLE"], retryAfter: "1s" },
  rejected: { name: "ApiError", status: 400, words: ["FAILED_PRECONDITION"] },
  rejectedByOwn: { name: "ApiError", status: 400, words: ["INVALID_ARGUMENT"] },
  unsupported: () => ({ name: "ApiError", status: 400, words: ["FAILED_PRECONDITION"] }),
};

/** The AI SDK says no more than whether asking again may help. */
function ai(failedStatus: number): RaisedErrors {
  const final = { name: "APICallError", status: 400, words: [false] };
  return {
    limited: { name: "APICallError", status: 429, words: [true], retryAfter: "7" },
    failed: { name: "APICallError", status: failedStatus, words: [true], retryAfter: "1" },
    rejected: final,
    rejectedByOwn: final,
    unsupported: () => final,
  };
}

export const raisedErrors: Readonly<Record<ClientName, RaisedErrors>> = {
  "openai: chat.completions": openai,
  "openai: responses": openai,
  "openai: completions": openai,
  "@anthropic-ai/sdk: messages": anthropic,
  "@google/genai: models": google,
  "ai with @ai-sdk/openai-compatible": ai(503),
  "ai with @ai-sdk/anthropic": ai(529),
  "@langchain/openai: ChatOpenAI": openai,
};

/** How a library raises a vendor's error. */
export function raisedFor(client: ClientName, status: RefusalStatus, sameDialect: boolean): RaisedWords {
  const errors = raisedErrors[client];
  switch (status) {
    case 429:
      return errors.limited;
    case 500:
      return errors.failed;
    case 400:
      return sameDialect ? errors.rejectedByOwn : errors.rejected;
  }
}
