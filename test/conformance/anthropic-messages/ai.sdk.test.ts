import { createAnthropic } from "@ai-sdk/anthropic";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { generateText, jsonSchema, streamText, type ToolSet } from "ai";
import { expect, test } from "vitest";
import { agentReply, options } from "./replies.ts";
import { serving, streamOf } from "./server.ts";

const inputSchema = jsonSchema<object>({ type: "object" });
const tools: ToolSet = { weather: { inputSchema }, time: { inputSchema } };

function request(baseUrl: string) {
  const anthropic = createAnthropic({ baseURL: `${baseUrl}/v1`, apiKey: "weir_key" });
  return { model: anthropic("weir-alias"), prompt: "Where is the tower?", tools, maxOutputTokens: 100, maxRetries: 0 };
}

const calls = [
  { toolCallId: "call_1", toolName: "weather", input: { city: "Paris", days: [1, 2] } },
  { toolCallId: "call_2", toolName: "time", input: {} },
];

function frames() {
  const writer = anthropicMessages.createFrameWriter(options);
  return agentReply.flatMap((event) => writer.write(event));
}

test("a whole answer is parsed into what was meant", async () => {
  await serving([{ body: anthropicMessages.writeAnswer(agentReply, options) }], async (url) => {
    const result = await generateText(request(url));
    expect(result).toMatchObject({ text: "In Paris 😀.", finishReason: "tool-calls" });
    expect(result.finalStep.reasoningText).toBe("Where is it?");
    expect(result.toolCalls).toMatchObject(calls);
    expect(result.usage).toMatchObject({ inputTokens: 100, outputTokens: 50 });
  });
});

test("a stream is assembled into what was meant", async () => {
  await serving([streamOf(frames())], async (url) => {
    const result = streamText(request(url));
    expect(await result.text).toBe("In Paris 😀.");
    expect((await result.finalStep).reasoningText).toBe("Where is it?");
    expect(await result.toolCalls).toMatchObject(calls);
    expect(await result.finishReason).toBe("tool-calls");
    expect(await result.usage).toMatchObject({ inputTokens: 100, outputTokens: 50 });
  });
});

test("an error in a stream reaches the reader", async () => {
  const event = anthropicMessages.renderErrorEvent(new WeirError(ErrorReason.STREAM_TRUNCATED), "req_1");
  await serving([streamOf(frames().slice(0, 8), event)], async (url) => {
    const kinds: string[] = [];
    const result = streamText({ ...request(url), onError: () => undefined });
    try {
      for await (const part of result.stream) kinds.push(part.type);
    } catch {
      kinds.push("error");
    }
    expect(kinds).toContain("error");
  });
});
