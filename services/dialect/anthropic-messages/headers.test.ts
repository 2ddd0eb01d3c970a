import { expect, test } from "vitest";
import { pickAnswerHeaders, pickClientHeaders } from "./headers.ts";

test("of an answer the client sees the provider's request id, under another name", () => {
  const headers = {
    "request-id": "req_1",
    "anthropic-organization-id": "org",
    "anthropic-ratelimit-requests-limit": "5",
  };
  expect(pickAnswerHeaders(headers)).toEqual({ "x-provider-request-id": "req_1" });
});

test("of a client the provider sees betas and version only", () => {
  const headers = { "anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-api-key": "secret", cookie: "c" };
  expect(pickClientHeaders(headers)).toEqual(["anthropic-version", "2023-06-01", "anthropic-beta", "a,b"]);
});

test("a client of another dialect speaks the version that requests are written for", () => {
  expect(pickClientHeaders({})).toEqual(["anthropic-version", "2023-06-01"]);
});

test.each(["x".repeat(2_049), "a\nb", "é"])("a value that is long or not plain is left out", (value) => {
  expect(pickAnswerHeaders({ "request-id": value })).toEqual({});
  expect(pickClientHeaders({ "anthropic-beta": value })).toEqual(["anthropic-version", "2023-06-01"]);
});
