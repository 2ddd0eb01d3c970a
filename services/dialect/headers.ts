import type { IncomingHttpHeaders } from "node:http";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";

/** Headers of a dialect that pass the gateway; all others stay where they came. Lower-case names. */
export interface HeaderRules {
  /** Of a client, for the provider. */
  readonly client: readonly string[];
  /** Of a provider, for the client: what it is called there, and here. Rates are those of the gateway's own key, and stay. */
  readonly answer: readonly (readonly [from: string, to: string])[];
}

const openai: HeaderRules = {
  client: ["openai-beta"],
  answer: [
    ["openai-processing-ms", "openai-processing-ms"],
    ["openai-version", "openai-version"],
    ["x-request-id", "x-provider-request-id"],
  ],
};

const rules: Readonly<Partial<Record<Dialect, HeaderRules>>> = {
  [Dialect.OPENAI_CHAT]: openai,
  [Dialect.OPENAI_RESPONSES]: openai,
  [Dialect.OPENAI_COMPLETIONS]: openai,
  // https://platform.claude.com/docs/en/api/overview
  [Dialect.ANTHROPIC_MESSAGES]: {
    client: ["anthropic-beta", "anthropic-version"],
    answer: [["request-id", "x-provider-request-id"]],
  },
  [Dialect.GEMINI]: { client: ["x-server-timeout"], answer: [] },
};

const none: HeaderRules = { client: [], answer: [] };

/** The rules of a dialect. */
export function headerRules(dialect: Dialect): HeaderRules {
  return rules[dialect] ?? none;
}

/** Picks from a client's headers, as they came or as a request carries them, what its provider may see. */
export function pickClientHeaders(
  { client }: HeaderRules,
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of client) {
    const value = headers[name];
    if (typeof value === "string" && isDecent(value)) picked[name] = value;
  }
  return picked;
}

/** Picks from a provider's headers what the client may see. */
export function pickAnswerHeaders({ answer }: HeaderRules, headers: IncomingHttpHeaders): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [from, to] of answer) {
    const value = headers[from];
    if (typeof value === "string" && isDecent(value)) picked[to] = value;
  }
  return picked;
}

/** Coding agents name a dozen of betas. */
const valueLengthMax = 2_048;

function isDecent(value: string): boolean {
  return value.length <= valueLengthMax && isPlain.test(value);
}

// https://www.rfc-editor.org/rfc/rfc9110#section-5.5 without what is not ASCII
const isPlain = /^[\t\x20-\x7e]*$/;
