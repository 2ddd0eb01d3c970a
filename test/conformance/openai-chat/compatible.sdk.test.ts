import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { parseExact } from "@weir/dialect/json";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { generateText, jsonSchema, streamText, tool, type ToolSet } from "ai";
import { expect, test } from "vitest";
import { calls, speech, stream, whole } from "./replies.ts";
import { type Answer, serve } from "./server.ts";

// The AI SDK's client for compatible vendors knows the members that OpenAI's own does not: `reasoning_content` and
// Gemini's signatures of calls.

async function connect(answer: Answer) {
  const server = await serve(answer);
  const provider = createOpenAICompatible({
    name: "weir",
    baseURL: server.baseURL,
    apiKey: "weir_test",
    includeUsage: true,
  });
  return { server, model: provider.chatModel("alias") };
}

const tools = { weather: tool({ inputSchema: jsonSchema({ type: "object" }) }) } as ToolSet;

test("reasoning, text and usage of a stream", async () => {
  const { model } = await connect(stream(speech));
  const result = streamText({ model, prompt: "Hi", maxRetries: 0 });
  expect(await result.text).toBe('Grüße 👋 "you"\n');
  expect((await result.finalStep).reasoningText).toBe("Greet them.");
  expect(await result.finishReason).toBe("stop");
  expect(await result.usage).toMatchObject({ inputTokens: 20, outputTokens: 9, totalTokens: 29 });
});

test("reasoning and text of a whole answer", async () => {
  const { model } = await connect(whole(speech));
  const result = await generateText({ model, prompt: "Hi", maxRetries: 0 });
  expect(result.text).toBe('Grüße 👋 "you"\n');
  expect(result.finalStep.reasoningText).toBe("Greet them.");
  expect(result.finishReason).toBe("stop");
});

test("a call's signature comes back with the history", async () => {
  const only = calls.filter(({ kind }) => kind.case !== "delta" || kind.value.part === 0);
  const { model, server } = await connect(stream(only));
  const first = streamText({ model, prompt: "Hi", tools, maxRetries: 0 });
  expect(await first.finishReason).toBe("tool-calls");
  const { messages } = (await first.finalStep).response;
  const result = {
    role: "tool" as const,
    content: [
      {
        type: "tool-result" as const,
        toolCallId: "call_a",
        toolName: "weather",
        output: { type: "text" as const, value: "rain" },
      },
    ],
  };
  await streamText({ model, messages: [{ role: "user", content: "Hi" }, ...messages, result], maxRetries: 0 }).text;
  const request = openaiChat.readRequest(parseExact(server.bodies[1] ?? "") ?? {});
  const parts = request.messages.flatMap((message) => message.parts.map(({ content }) => content));
  expect(parts).toMatchObject([
    { case: "text" },
    { case: "toolCall", value: { id: "call_a", name: "weather", signature: Buffer.from("proof") } },
    { case: "toolResult", value: { toolCallId: "call_a" } },
  ]);
});

test("an error in a stream fails the answer", async () => {
  const error = openaiChat.renderErrorEvent(new WeirError(ErrorReason.STREAM_TRUNCATED), "req_1");
  const { model } = await connect(stream(speech.slice(0, -1), {}, error));
  const errors: unknown[] = [];
  const result = streamText({ model, prompt: "Hi", maxRetries: 0, onError: (event) => void errors.push(event.error) });
  await result.consumeStream();
  expect(errors.length).toBeGreaterThan(0);
  await expect(result.finishReason).rejects.toBeInstanceOf(Error);
});
