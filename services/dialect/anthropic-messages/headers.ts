import type { IncomingHttpHeaders } from "node:http";

/** The version of the interface that requests are written for. https://platform.claude.com/docs/en/api/versioning */
export const anthropicVersion = "2023-06-01";

/** Headers of a client that a provider may see; all others stay with the edge. */
export const clientHeaders: readonly string[] = ["anthropic-beta", "anthropic-version"];

/** Headers of a provider that a client may see, and under what name. Its rates are those of the gateway's own key. */
const answerHeaders: readonly (readonly [from: string, to: string])[] = [["request-id", "x-provider-request-id"]];

/** Coding agents name a dozen of betas. */
const valueLengthMax = 2_048;

/** Picks from a provider's headers what the client may see. */
export function pickAnswerHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [from, to] of answerHeaders) {
    const value = headers[from];
    if (typeof value === "string" && value.length <= valueLengthMax && isPlain.test(value)) picked[to] = value;
  }
  return picked;
}

/**
 * Picks from headers of the client, as a request carries them, what the provider may see: name, value, name, value. The
 * version, without which the vendor refuses a request, is always among them.
 */
export function pickClientHeaders(headers: Readonly<Record<string, string>>): string[] {
  const picked: string[] = [];
  for (const [name, value] of Object.entries({ "anthropic-version": anthropicVersion, ...headers })) {
    if (clientHeaders.includes(name) && value.length <= valueLengthMax && isPlain.test(value)) picked.push(name, value);
  }
  return picked;
}

// https://www.rfc-editor.org/rfc/rfc9110#section-5.5 without what is not ASCII
const isPlain = /^[\t\x20-\x7e]*$/;
