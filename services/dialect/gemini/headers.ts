import type { IncomingHttpHeaders } from "node:http";

/** Headers of a client that a provider may see; all others stay with the edge. `x-server-timeout`: how many seconds the client waits. */
export const clientHeaders: readonly string[] = ["x-server-timeout"];

/** Headers of a provider that a client may see, and under what name. */
const answerHeaders: readonly (readonly [from: string, to: string])[] = [
  ["server-timing", "server-timing"],
  ["x-gemini-service-tier", "x-gemini-service-tier"], // https://ai.google.dev/gemini-api/docs/priority-inference
];

const valueLengthMax = 256;

/** Picks from a provider's headers what the client may see. */
export function pickAnswerHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [from, to] of answerHeaders) {
    const value = headers[from];
    if (typeof value === "string" && value.length <= valueLengthMax && isPlain.test(value)) picked[to] = value;
  }
  return picked;
}

/** Picks from headers of the client, as a request carries them, what the provider may see: name, value, name, value. */
export function pickClientHeaders(headers: Readonly<Record<string, string>>): string[] {
  const picked: string[] = [];
  for (const name of clientHeaders) {
    const value = headers[name];
    if (value !== undefined && value.length <= valueLengthMax && isPlain.test(value)) picked.push(name, value);
  }
  return picked;
}

// https://www.rfc-editor.org/rfc/rfc9110#section-5.5 without what is not ASCII
const isPlain = /^[\t\x20-\x7e]*$/;
