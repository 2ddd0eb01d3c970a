import { expect, test } from "vitest";
import { addToBound, endpointOf } from "./batch-bounds.ts";

/** What one request may use. */
function boundOf(endpoint: string, body: object) {
  const bound = { inputTokens: 0, outputTokens: 0, openChoices: 0, openLine: 0 };
  const bytes = Buffer.from(JSON.stringify(body));
  return addToBound(bound, endpoint, { ...body }, bytes, 7) ?? bound;
}

test.each([
  ["/v1/chat/completions", "/chat/completions"],
  ["v1/chat/completions", "/chat/completions"],
  ["/chat/completions", "/chat/completions"],
])("%s is where %s is", (url, endpoint) => {
  expect(endpointOf(url)).toBe(endpoint);
});

test.each([
  ["a chat's", "/chat/completions", { max_completion_tokens: 100 }, 100],
  ["the larger of a chat's two", "/chat/completions", { max_completion_tokens: 100, max_tokens: 300 }, 300],
  ["each choice of a chat", "/chat/completions", { max_tokens: 100, n: 3 }, 300],
  ["a response's", "/responses", { max_output_tokens: 50 }, 50],
  [
    "each prompt's, as often as it is answered",
    "/completions",
    { max_tokens: 10, prompt: ["a", "b"], n: 1, best_of: 4 },
    80,
  ],
  ["a prompt of tokens", "/completions", { max_tokens: 10, prompt: [1, 2, 3] }, 10],
  ["what answers with no text", "/embeddings", { input: "x" }, 0],
  ["a picture's", "/images/generations", { n: 2 }, 65_536],
])("a limit counts: %s", (_name, endpoint, body, outputTokens) => {
  expect(boundOf(endpoint, body)).toMatchObject({ outputTokens, openChoices: 0, openLine: 0 });
});

test.each([
  ["none", "/chat/completions", { n: 2 }, 2],
  ["one of another endpoint", "/responses", { max_tokens: 1 }, 1],
  ["one that some read otherwise", "/chat/completions", { max_completion_tokens: "9999", max_tokens: 1 }, 1],
  ["one of an endpoint that is not known", "/videos", { max_tokens: 1 }, 1],
  ["one that is not to be believed", "/chat/completions", { max_tokens: 1e15 }, 1],
])("a request with no limit is known by its line: %s", (_name, endpoint, body, openChoices) => {
  expect(boundOf(endpoint, body)).toMatchObject({ outputTokens: 0, openChoices, openLine: 7 });
});

test("input counts as a chat's does: a token for three bytes, little for a picture", () => {
  expect(boundOf("/chat/completions", { a: "x".repeat(292) })).toMatchObject({ inputTokens: 100 });
  const picture = { url: `data:image/png;base64,${"A".repeat(300_000)}` };
  expect(boundOf("/chat/completions", picture)).toHaveProperty("inputTokens", expect.closeTo(1_345, -2));
});
