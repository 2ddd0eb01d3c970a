import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { expect, test } from "vitest";
import { createArrayForm } from "../routes/stream-form.ts";
import { appendRateHeaders, durationText, instantText, type Standings } from "./rate-headers.ts";

const standings: Standings = {
  requests: { limit: 60, remaining: 59, resetMs: 60_500 },
  tokens: { limit: 1_000, remaining: 0, resetMs: 1 },
};
const nowMs = Date.UTC(2026, 10, 21, 7, 30, 59, 500);

function headersFor(voice: Parameters<typeof appendRateHeaders>[0]): Record<string, string> {
  const list: string[] = [];
  appendRateHeaders(voice, standings, nowMs, list);
  return Object.fromEntries(list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1] ?? ""]] : [])));
}

test.each([openaiChat, openaiResponses])("clients of OpenAI read durations ($name)", (codec) => {
  expect(headersFor(codec)).toEqual({
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-requests": "1m1s",
    "x-ratelimit-reset-tokens": "1ms",
  });
});

test("days that are limited are told where clients of OpenAI's dialect look for them", () => {
  const list: string[] = [];
  const requestsOfDay = { limit: 9, remaining: 2, resetMs: 7_200_000 };
  appendRateHeaders(openaiChat, { ...standings, requestsOfDay }, nowMs, list);
  expect(list.slice(-6)).toEqual([
    "x-ratelimit-limit-requests-day",
    "9",
    "x-ratelimit-remaining-requests-day",
    "2",
    "x-ratelimit-reset-requests-day",
    "2h0m0s",
  ]);
});

test("clients of Anthropic read instants", () => {
  expect(headersFor(anthropicMessages)).toEqual({
    "anthropic-ratelimit-requests-limit": "60",
    "anthropic-ratelimit-requests-remaining": "59",
    "anthropic-ratelimit-requests-reset": "2026-11-21T07:32:00Z",
    "anthropic-ratelimit-tokens-limit": "1000",
    "anthropic-ratelimit-tokens-remaining": "0",
    "anthropic-ratelimit-tokens-reset": "2026-11-21T07:31:00Z",
  });
});

test.each([gemini, createArrayForm().voice])("clients of Gemini know of none", (voice) => {
  expect(headersFor(voice)).toEqual({});
});

test.each([
  [0, "1970-01-01T00:00:00Z"],
  [0.4, "1970-01-01T00:00:01Z"],
  [1_700_000_000_000, "2023-11-14T22:13:20Z"],
  [1_700_000_000_001, "2023-11-14T22:13:21Z"],
])("%d is written %s", (ms, text) => {
  expect(instantText(ms)).toBe(text);
});

test.each([
  [0, "0s"],
  [0.2, "1ms"],
  [999, "999ms"],
  [999.5, "1s"],
  [1_001, "2s"],
  [59_001, "1m0s"],
  [360_000, "6m0s"],
  [3_605_000, "1h0m5s"],
])("%d ms is written %s", (ms, text) => {
  expect(durationText(ms)).toBe(text);
});
