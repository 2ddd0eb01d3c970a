import type { WeirError } from "@weir/kit/weir-error";
import type { ProviderError, RenderedError } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { renderError as renderOpenaiError } from "../openai/errors.ts";
import { readError as readOpenaiError } from "../openai/read-error.ts";

// https://docs.ollama.com/api/errors: the body and the line of a stream are `{"error": "..."}`, and only the status says more.

/** Renders a failure as an answer of its own, with the status and headers that OpenAI's clients get. */
export function renderError(error: WeirError): RenderedError {
  const { status, headers } = renderOpenaiError(error);
  return { status, headers, body: errorBody(error) };
}

/** Renders a failure as the last line of a stream that has begun. */
export function renderErrorEvent(error: WeirError): string {
  return `${errorBody(error)}\n`;
}

function errorBody(error: WeirError): string {
  return JSON.stringify({ error: error.message });
}

/** The error that a body or a line reports. A text has no code; servers in between send OpenAI's object. */
export function readError(body: JsonObject): ProviderError | undefined {
  return readOpenaiError(body);
}

/** What a server says, in place of an answer or of its last line, when a model's call cannot be read. */
export const brokenCall: string = JSON.stringify({
  error: "The model wrote a tool call whose arguments are not a JSON object.",
});
