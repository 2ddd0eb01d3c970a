import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import type { Standing } from "@weir/kit/limits/counter";
import type { ErrorVoice, HeaderList } from "../http/exchange.ts";

/** The tightest of a caller's own limits and those of its user, team and tenant. */
export interface Standings {
  /** Of a minute. */
  readonly requests: Standing;
  readonly tokens: Standing;
  /** Undefined: the day is not limited. */
  readonly requestsOfDay?: Standing | undefined;
  readonly tokensOfDay?: Standing | undefined;
}

/**
 * Appends what is left of a key's limits, as the clients of a dialect read it: `x-ratelimit-*` as OpenAI has them, `anthropic-ratelimit-*`,
 * or nothing for Gemini's clients, whose vendor has no such headers.
 * @param voice how failures of the same request are told
 * @param nowMs milliseconds since 1970
 */
export function appendRateHeaders(voice: ErrorVoice, standings: Standings, nowMs: number, headers: HeaderList): void {
  if (voice.renderError === anthropicMessages.renderError) appendAnthropic(standings, nowMs, headers);
  else if (voice.renderError !== gemini.renderError) appendOpenai(standings, headers);
}

/**
 * https://developers.openai.com/api/docs/guides/rate-limits, which has no headers for days; those are named as another vendor of
 * this dialect names them: https://inference-docs.cerebras.ai/support/rate-limits
 */
function appendOpenai({ requests, tokens, requestsOfDay, tokensOfDay }: Standings, headers: HeaderList): void {
  headers.push(
    "x-ratelimit-limit-requests",
    String(requests.limit),
    "x-ratelimit-limit-tokens",
    String(tokens.limit),
    "x-ratelimit-remaining-requests",
    String(requests.remaining),
    "x-ratelimit-remaining-tokens",
    String(tokens.remaining),
    "x-ratelimit-reset-requests",
    durationText(requests.resetMs),
    "x-ratelimit-reset-tokens",
    durationText(tokens.resetMs),
  );
  if (requestsOfDay !== undefined) appendDay("requests-day", requestsOfDay, headers);
  if (tokensOfDay !== undefined) appendDay("tokens-day", tokensOfDay, headers);
}

function appendDay(name: string, { limit, remaining, resetMs }: Standing, headers: HeaderList): void {
  headers.push(
    `x-ratelimit-limit-${name}`,
    String(limit),
    `x-ratelimit-remaining-${name}`,
    String(remaining),
    `x-ratelimit-reset-${name}`,
    durationText(resetMs),
  );
}

/** https://platform.claude.com/docs/en/api/rate-limits#response-headers; one limit holds for input and output together. */
function appendAnthropic({ requests, tokens }: Standings, nowMs: number, headers: HeaderList): void {
  headers.push(
    "anthropic-ratelimit-requests-limit",
    String(requests.limit),
    "anthropic-ratelimit-requests-remaining",
    String(requests.remaining),
    "anthropic-ratelimit-requests-reset",
    instantText(nowMs + requests.resetMs),
    "anthropic-ratelimit-tokens-limit",
    String(tokens.limit),
    "anthropic-ratelimit-tokens-remaining",
    String(tokens.remaining),
    "anthropic-ratelimit-tokens-reset",
    instantText(nowMs + tokens.resetMs),
  );
}

/** An instant as RFC 3339 has it, in whole seconds, rounded up. @param ms milliseconds since 1970 */
export function instantText(ms: number): string {
  return `${new Date(Math.ceil(ms / 1_000) * 1_000).toISOString().slice(0, 19)}Z`;
}

/** A duration as OpenAI writes it: `0s`, `120ms`, `12s`, `6m0s`, `1h0m5s`; rounded up. */
export function durationText(ms: number): string {
  if (ms <= 0) return "0s";
  if (ms <= 999) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / 1_000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${seconds % 60}s`;
  return `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds % 60}s`;
}
