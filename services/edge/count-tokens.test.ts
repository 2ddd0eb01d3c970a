import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { afterEach, expect, test } from "vitest";
import { startEdge, stopEdges } from "./testing/harness.ts";

afterEach(stopEdges);

const send = (url: string, key: string, path: string, body: unknown) =>
  fetch(url + path, {
    method: "POST",
    headers: { "x-api-key": key, "content-type": "application/json" },
    body: JSON.stringify(body),
  });

const messages = [{ role: "user", content: "hi" }];

test("a count in Anthropic's dialect needs no limit of output, and reserves nothing", async () => {
  const edge = await startEdge({ scope: { tokensPerMinute: 1 } });
  const answer = await send(edge.url, edge.key, "/v1/messages/count_tokens", { model: "small", messages });
  expect([answer.status, await answer.text()]).toEqual([200, '{"input_tokens":7}']);
  expect(answer.headers.get("x-weir-warnings")).toBeNull();
  const [asked] = edge.counted;
  expect(asked?.request?.model).toBe("small");
  expect(asked?.request?.wire).toMatchObject({ dialect: Dialect.ANTHROPIC_MESSAGES, stream: false });
  expect(JSON.parse(Buffer.from(asked?.request?.wire?.body ?? []).toString())).toMatchObject({ messages });
  const guess = await send(edge.url, edge.key, "/v1/messages/count_tokens", { model: "small", messages });
  expect(guess.headers.get("x-weir-warnings")).toBe("estimated");
});

test("a count of a response's input; a conversation that its provider keeps is refused, and a store that is away is said", async () => {
  const edge = await startEdge();
  const path = "/v1/responses/input_tokens";
  const answer = await send(edge.url, edge.key, path, { model: "small", input: "hi", tools: null });
  expect(await answer.json()).toEqual({ object: "response.input_tokens", input_tokens: 7 });
  const [asked] = edge.counted;
  expect(asked?.request?.wire).toMatchObject({ dialect: Dialect.OPENAI_RESPONSES, stream: false });
  const refused = await send(edge.url, edge.key, path, { model: "small", input: "hi", conversation: "conv_1" });
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: "conversation" } }]);
  const untold = await send(edge.url, edge.key, path, { model: "small", input: "hi", previous_response_id: "resp_1" });
  expect(untold.status).toBe(503);
  expect(edge.counted).toHaveLength(1);
});

test("a count in Gemini's dialect, in either form", async () => {
  const edge = await startEdge();
  const contents = [{ role: "user", parts: [{ text: "hi" }] }];
  for (const body of [{ contents }, { generateContentRequest: { model: "models/other", contents } }]) {
    const answer = await send(edge.url, edge.key, "/v1beta/models/small:countTokens", body);
    expect([answer.status, await answer.text()]).toEqual([200, '{"totalTokens":7}']);
  }
  expect(edge.counted.map(({ request }) => request?.model)).toEqual(["small", "small"]);
  const sent = edge.counted.map(
    ({ request }) => JSON.parse(Buffer.from(request?.wire?.body ?? []).toString()) as unknown,
  );
  expect(sent).toEqual([{ contents }, { contents }]);
});

test("refusals are in the dialect's own form", async () => {
  const edge = await startEdge({ scope: { models: ["other"] } });
  const path = "/v1/messages/count_tokens";
  const forbidden = await send(edge.url, edge.key, path, { model: "small", messages });
  expect([forbidden.status, await forbidden.json()]).toMatchObject([403, { type: "error" }]);
  const malformed = await send(edge.url, edge.key, path, { model: "other", messages: "x" });
  expect([malformed.status, await malformed.json()]).toMatchObject([
    400,
    { type: "error", error: { type: "invalid_request_error" } },
  ]);
  const unknown = await send(edge.url, "weir_nobody", path, { model: "other", messages });
  expect([unknown.status, await unknown.json()]).toMatchObject([401, { error: { type: "authentication_error" } }]);
  expect(edge.counted).toEqual([]);
});

test.each([
  ["GET", "/v1/messages/batches", 404, { type: "error", error: { type: "not_found_error" } }],
  ["PUT", "/v1/messages", 405, { type: "error", error: { type: "invalid_request_error" } }],
  ["POST", "/v1beta/nothing", 404, { error: { status: "NOT_FOUND" } }],
  ["POST", "/v1beta/models", 405, { error: { code: 405 } }],
  ["DELETE", "/v1/models/x", 405, { error: { code: "method_not_allowed" } }],
])("%s %s is refused as its vendor would", async (method, path, status, body) => {
  const edge = await startEdge();
  const answer = await fetch(edge.url + path, { method });
  expect([answer.status, await answer.json()]).toMatchObject([status, body]);
});

test.each<[string, string]>([
  ["nests too deep", `{"model":"small","messages":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
  ["names two models", '{"model":"small","model":"other","messages":[{"role":"user","content":"x"}]}'],
  ["is no JSON", '{"model":'],
])("a count whose body %s is refused", async (_, body) => {
  const edge = await startEdge();
  const answer = await fetch(`${edge.url}/v1/messages/count_tokens`, {
    method: "POST",
    headers: { "x-api-key": edge.key, "content-type": "application/json" },
    body,
  });
  expect([answer.status, await answer.json()]).toMatchObject([400, { error: { type: "invalid_request_error" } }]);
  expect(edge.counted).toEqual([]);
});
