import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { countTokensBody, writeTokenCount } from "@weir/dialect/anthropic-messages/count-tokens";
import { parseExact, writeJson } from "@weir/dialect/json";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { agentReply, options } from "./replies.ts";
import { type Answer, serving, streamOf } from "./server.ts";

const params: Anthropic.MessageCreateParamsNonStreaming = {
  model: "weir-alias",
  max_tokens: 100,
  messages: [{ role: "user", content: "Where is the tower?" }],
};

function client(baseURL: string, maxRetries = 0): Anthropic {
  return new Anthropic({ baseURL, apiKey: "weir_key", maxRetries });
}

function frames(count = Infinity) {
  const writer = anthropicMessages.createFrameWriter(options);
  return agentReply.flatMap((event) => writer.write(event)).slice(0, count);
}

const expectedUsage = {
  input_tokens: 30,
  cache_read_input_tokens: 60,
  cache_creation_input_tokens: 10,
  output_tokens: 50,
  output_tokens_details: { thinking_tokens: 20 },
  server_tool_use: { web_search_requests: 1, web_fetch_requests: 0 },
};

function expectAgentReply(message: Anthropic.Message): void {
  expect(message).toMatchObject({
    id: "resp_1",
    type: "message",
    role: "assistant",
    model: "gpt-5",
    stop_reason: "tool_use",
    stop_sequence: null,
    usage: expectedUsage,
  });
  expect(message.content).toMatchObject([
    { type: "thinking", thinking: "Where is it?" },
    { type: "text", text: "In Paris 😀.", citations: [{ url: "https://example.com/map", cited_text: "Paris" }] },
    { type: "tool_use", id: "call_1", name: "weather", input: { city: "Paris", days: [1, 2] } },
    { type: "tool_use", id: "call_2", name: "time", input: {} },
  ]);
}

test("a whole answer is parsed into what was meant", async () => {
  const answer: Answer = {
    body: anthropicMessages.writeAnswer(agentReply, options),
    headers: { "request-id": "req_1" },
  };
  await serving([answer], async (url) => {
    const message = await client(url).messages.create(params);
    expectAgentReply(message);
    expect(message._request_id).toBe("req_1");
  });
});

test("a stream is assembled into what was meant", async () => {
  await serving([streamOf(frames())], async (url) => {
    const texts: string[] = [];
    const stream = client(url)
      .messages.stream(params)
      .on("text", (text) => texts.push(text));
    expectAgentReply(await stream.finalMessage());
    expect(texts).toEqual(["In Paris", " 😀."]);
  });
});

test("what a client sends back after a reply is what the reply said", async () => {
  const answer = streamOf(frames());
  const received = await serving(
    [answer, { body: anthropicMessages.writeAnswer(agentReply, options) }],
    async (url) => {
      const { content } = await client(url).messages.stream(params).finalMessage();
      const result = { type: "tool_result", tool_use_id: "call_1", content: "sun" } as const;
      await client(url).messages.create({
        ...params,
        messages: [...params.messages, { role: "assistant", content }, { role: "user", content: [result] }],
      });
    },
  );
  const request = anthropicMessages.readRequest(parseExact(received[1]?.body ?? "") ?? {});
  expect(request.messages.map(({ role }) => role)).toEqual([Role.USER, Role.ASSISTANT, Role.TOOL]);
  expect(request.messages[1]?.parts.map(({ content }) => content)).toMatchObject([
    { case: "reasoning", value: { text: "Where is it?", sealed: Buffer.from([0, 255]), id: "rs_1" } },
    { case: "text", value: { text: "In Paris 😀." } },
    { case: "toolCall", value: { id: "call_1", name: "weather", arguments: '{"city":"Paris","days":[1,2]}' } },
    { case: "toolCall", value: { id: "call_2", name: "time", arguments: "{}" } },
  ]);
});

test("an error in a stream is raised, and the answer is not taken for complete", async () => {
  const error = new WeirError(ErrorReason.STREAM_TRUNCATED);
  const answer = streamOf(frames(8), anthropicMessages.renderErrorEvent(error, "req_1"));
  await serving([answer], async (url) => {
    const final = client(url).messages.stream(params).finalMessage();
    await expect(final).rejects.toMatchObject({ type: "api_error", apiMessage: error.message });
    await expect(final).rejects.toBeInstanceOf(APIError);
    const seen: string[] = [];
    const reading = async () => {
      for await (const event of await client(url).messages.create({ ...params, stream: true })) seen.push(event.type);
    };
    await expect(reading()).rejects.toBeInstanceOf(APIError);
    expect(seen).not.toContain("message_stop");
  });
});

test("a stream without its last event is not taken for complete", async () => {
  await serving([streamOf(frames(frames().length - 1))], async (url) => {
    await expect(client(url).messages.stream(params).finalMessage()).rejects.toThrow("without producing a Message");
  });
});

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i is raised as the row says, and sent again only when that can help", async (reason) => {
  const row = errorTable[reason];
  const failure = anthropicMessages.renderError(new WeirError(reason, { retryAfterMs: 1 }), "req_1");
  const answers: Answer[] = [failure, { body: anthropicMessages.writeAnswer(agentReply, options) }];
  const received = await serving(answers, async (url) => {
    const call = client(url, 1).messages.create(params);
    if (row.retry === "never" || row.anthropic.status < 408) {
      await expect(call).rejects.toMatchObject({
        status: row.anthropic.status,
        type: row.anthropic.type,
        apiMessage: row.text,
        requestID: "req_1",
      });
    } else {
      expectAgentReply(await call);
    }
  });
  expect(received).toHaveLength(row.retry === "never" || row.anthropic.status < 408 ? 1 : 2);
});

test("a connection that breaks without an error event is raised as well", async () => {
  const answer: Answer = { ...streamOf(frames(5)), reset: true };
  await serving([answer], async (url) => {
    await expect(client(url).messages.stream(params).finalMessage()).rejects.toBeInstanceOf(Error);
  });
});

test("a request of the vendor's types is read, member by member", async () => {
  const request: Anthropic.MessageCreateParamsNonStreaming = {
    ...params,
    system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral", ttl: "1h" } }],
    messages: [
      {
        role: "user",
        content: [
          { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } },
          { type: "document", source: { type: "text", media_type: "text/plain", data: "a" }, title: "A" },
          { type: "text", text: "Look." },
        ],
      },
      { role: "system", content: "It is noon." },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Hm.", signature: "c2ln" },
          { type: "tool_use", id: "toolu_1", name: "look", input: { at: [1, 2] }, caller: { type: "direct" } },
        ],
      },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "a tower", is_error: false }] },
    ],
    tools: [
      { name: "look", description: "Looks.", input_schema: { type: "object", properties: {} }, strict: true },
      { type: "web_search_20250305", name: "web_search", max_uses: 2 },
    ],
    tool_choice: { type: "auto", disable_parallel_tool_use: true },
    thinking: { type: "adaptive", display: "summarized" },
    output_config: { effort: "high", format: { type: "json_schema", schema: { type: "object" } } },
    stop_sequences: ["END"],
    service_tier: "auto",
    metadata: { user_id: "user-1" },
  };
  const [received] = await serving([{ body: anthropicMessages.writeAnswer(agentReply, options) }], async (url) => {
    await client(url).messages.create(request);
  });
  const canonical = anthropicMessages.readRequest(parseExact(received?.body ?? "") ?? {});
  const target = { model: "claude-opus-5-5", stream: false, maxOutputTokensDefault: 1 };
  const { body, warnings } = anthropicMessages.writeRequest(canonical, target);
  expect(warnings).toEqual([]);
  const written = JSON.parse(writeJson(body)) as typeof request;
  expect(written).toMatchObject({ ...request, model: "claude-opus-5-5", messages: expect.any(Array) });
  expect(written.messages).toHaveLength(request.messages.length);
  expect(written.messages[2]).toMatchObject({
    content: [
      { type: "thinking", thinking: "Hm.", signature: "c2ln" },
      { type: "tool_use", id: "toolu_1", name: "look", input: { at: [1, 2] } },
    ],
  });
});

test("tokens are counted", async () => {
  const [received] = await serving([{ body: writeTokenCount(14) }], async (url) => {
    const { max_tokens: _, ...counted } = params;
    expect(await client(url).messages.countTokens(counted)).toEqual({ input_tokens: 14 });
  });
  const body = parseExact(received?.body ?? "") ?? {};
  expect(anthropicMessages.readEnvelope(body)).toMatchObject({ model: "weir-alias" });
  const request = anthropicMessages.readRequest(body);
  const target = { model: "claude-opus-5", stream: false, maxOutputTokensDefault: 4_096 };
  expect(countTokensBody(anthropicMessages.writeRequest(request, target).body)).toEqual({
    model: "claude-opus-5",
    messages: params.messages,
  });
});
