import { Dialect, DialectSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import { expect, test } from "vitest";
import { headerRules, pickAnswerHeaders, pickClientHeaders } from "./headers.ts";

const credentials = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "host", "connection"];

test.each(DialectSchema.values.map(({ number, localName }) => [localName, number as Dialect] as const))(
  "%s passes no credential and no framing in either direction",
  (_, dialect) => {
    const { client, answer } = headerRules(dialect);
    for (const name of [...client, ...answer.flat()]) {
      expect(name).toBe(name.toLowerCase());
      expect(credentials).not.toContain(name);
      expect(name).not.toMatch(/^(?:content-|transfer-|set-cookie|x-weir-|x-ratelimit-|anthropic-ratelimit-|weir-)/);
    }
  },
);

test("a client's betas pass, what could break a header or is overlong does not", () => {
  const rules = headerRules(Dialect.ANTHROPIC_MESSAGES);
  const headers = { "anthropic-beta": "a-1,b-2", "anthropic-version": "2023-06-01\r\nx: y", "x-api-key": "secret" };
  expect(pickClientHeaders(rules, headers)).toEqual({ "anthropic-beta": "a-1,b-2" });
  expect(pickClientHeaders(rules, { "anthropic-beta": "x".repeat(2_049) })).toEqual({});
});

test.each(["2023-06-01", "2026-10-21", "2027-01-01"])(
  "a client's own version of Anthropic's API passes: %s",
  (version) => {
    const rules = headerRules(Dialect.ANTHROPIC_MESSAGES);
    expect(pickClientHeaders(rules, { "anthropic-version": version })).toEqual({ "anthropic-version": version });
  },
);

test("the provider's request id passes under another name than ours", () => {
  const rules = headerRules(Dialect.OPENAI_CHAT);
  const headers = { "x-request-id": "req_1", "openai-processing-ms": "12", "set-cookie": ["a=b"], server: "x" };
  expect(pickAnswerHeaders(rules, headers)).toEqual({ "openai-processing-ms": "12", "x-provider-request-id": "req_1" });
  expect(pickAnswerHeaders(rules, { "x-request-id": "a\u0001b" })).toEqual({});
});
