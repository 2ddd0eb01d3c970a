import { type AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { concat } from "@langchain/core/utils/stream";
import { ChatOpenAI } from "@langchain/openai";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { answerOptions } from "@weir/dialect/openai-responses/testing";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { create } from "@bufbuild/protobuf";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { afterEach, expect, test } from "vitest";
import { type Reply, type Server, serve, sse } from "./server.ts";

const usage = create(UsageSchema, { inputTokens: 3, outputTokens: 4 });
const events = [
  startEvent({ id: "resp_1", model: "m-1" }),
  reasoningEvent(0, 0, { text: "hm" }),
  textEvent(0, 1, "hel"),
  textEvent(0, 1, "lo"),
  toolCallEvent(0, 2, { id: "c1", name: "weather", arguments: '{"city":' }),
  toolCallEvent(0, 2, { arguments: '"Oslo"}' }),
  endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "")], usage),
];
const expected = {
  text: "hello",
  tool_calls: [{ id: "c1", name: "weather", args: { city: "Oslo" } }],
  usage_metadata: { input_tokens: 3, output_tokens: 4, total_tokens: 7 },
};

let server: Server | undefined;
afterEach(() => server?.close());

async function model(answer: Reply): Promise<ChatOpenAI> {
  server = await serve(answer);
  const configuration = { baseURL: server.baseURL };
  return new ChatOpenAI({ model: "m", apiKey: "weir_test", useResponsesApi: true, configuration, maxRetries: 0 });
}

test("LangChain reads a whole answer", async () => {
  const chat = await model({ body: openaiResponses.writeAnswer(events, answerOptions) });
  expect(await chat.invoke([new HumanMessage("hi")])).toMatchObject(expected);
  expect(openaiResponses.readRequest(server?.bodies[0] ?? {}).messages).toHaveLength(1);
});

test("LangChain puts a stream together", async () => {
  const writer = openaiResponses.createFrameWriter(answerOptions);
  const chat = await model(sse(events.flatMap((event) => writer.write(event))));
  let whole: AIMessageChunk | undefined;
  for await (const chunk of await chat.stream([new HumanMessage("hi")])) {
    whole = whole === undefined ? chunk : concat(whole, chunk);
  }
  expect(whole).toMatchObject(expected);
});
