import { type AnthropicProviderOptions, createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  generateText,
  type JSONSchema7,
  jsonSchema,
  type LanguageModel,
  type ModelMessage,
  Output,
  type StepResult,
  streamText,
  tool,
  type ToolSet,
} from "ai";
import {
  type Ask,
  type AskTool,
  createHeaderWatch,
  type Door,
  type MatrixClient,
  type Seen,
  type Turn,
} from "../client.ts";
import { plainRaised } from "./raised.ts";

// It prints what it thinks of aliases that it does not know.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

/** Vercel's AI SDK with its client for vendors that are compatible with OpenAI. */
export const aiCompatibleClient: MatrixClient = createAiClient("openai-chat", ({ url, key }, name, fetch) => {
  const options = { name: "weir", baseURL: `${url}/v1`, apiKey: key, fetch };
  return createOpenAICompatible({ ...options, includeUsage: true, supportsStructuredOutputs: true }).chatModel(name);
});

/** Vercel's AI SDK with its client for Anthropic. */
export const aiAnthropicClient: MatrixClient = createAiClient("anthropic-messages", ({ url, key }, name, fetch) =>
  createAnthropic({ baseURL: `${url}/v1`, apiKey: key, fetch })(name),
);

type Connect = (door: Door, model: string, fetch: typeof globalThis.fetch) => LanguageModel;

function createAiClient(dialect: string, connect: Connect): MatrixClient {
  return {
    dialect,
    async ask(door, ask) {
      const { fetch, warnings } = createHeaderWatch();
      const options = { model: connect(door, ask.model, fetch), maxRetries: 0, ...write(ask) };
      if (!ask.stream) {
        const { finalStep, responseMessages } = await generateText(options);
        return seen(finalStep, responseMessages, warnings());
      }
      // Without a handler the SDK prints errors; users see them as parts of the stream.
      const result = streamText({ ...options, onError: () => undefined });
      for await (const part of result.stream) {
        if (part.type === "error") throw part.error;
        if (part.type === "abort") throw new DOMException("The call was aborted.", "AbortError");
        if (part.type === "text-delta") ask.onText?.(part.text);
      }
      return seen(await result.finalStep, await result.responseMessages, warnings());
    },
    // The SDK's own form, whatever the vendor's is: totals, with their parts beside them.
    usage: ({ input, cached, output }) => ({
      inputTokens: input,
      ...(cached === undefined ? {} : { inputTokenDetails: { cacheReadTokens: cached } }),
      outputTokens: output,
    }),
    ends: { text: "stop", calls: "tool-calls" },
    raised(error) {
      if (!APICallError.isInstance(error)) return plainRaised(error);
      const { statusCode: status, responseHeaders, message, isRetryable } = error;
      const retryAfter = responseHeaders?.["retry-after"];
      return { name: error.constructor.name, status, words: [isRetryable], message, retryAfter };
    },
  };
}

function write({ system, turns, tools, mustCall, schema, effort, cached, signal }: Ask) {
  const ephemeral = { type: "ephemeral" as const };
  const mark = {
    anthropic: { cacheControl: ephemeral } satisfies AnthropicProviderOptions,
    openaiCompatible: { cache_control: ephemeral },
  };
  return {
    maxOutputTokens: 2_000,
    messages: turns.flatMap(writeTurn),
    ...(system === undefined
      ? {}
      : {
          system: cached === true ? { role: "system" as const, content: system, providerOptions: mark } : system,
        }),
    ...(tools === undefined ? {} : { tools: writeTools(tools) }),
    ...(schema === undefined
      ? {}
      : { output: Output.object({ schema: jsonSchema<unknown>(schema as JSONSchema7), name: "place" }) }),
    ...(mustCall === true ? { toolChoice: "required" as const } : {}),
    ...(effort === undefined ? {} : { reasoning: effort }),
    // The SDK tells by a model's name what Claude it is, and names of aliases tell it nothing.
    providerOptions: {
      anthropic: {
        structuredOutputMode: "outputFormat",
        ...(effort === undefined ? {} : { thinking: { type: "adaptive" }, effort }),
      } satisfies AnthropicProviderOptions,
    },
    ...(signal === undefined ? {} : { abortSignal: signal }),
  };
}

function writeTools(tools: readonly AskTool[]): ToolSet {
  const entries = tools.map(({ name, description, parameters }) => {
    return [name, tool({ description, inputSchema: jsonSchema(parameters as JSONSchema7) })];
  });
  // The SDK's own types do not fit each other under exactOptionalPropertyTypes.
  return Object.fromEntries(entries) as ToolSet;
}

function writeTurn(turn: Turn): ModelMessage[] {
  switch (turn.kind) {
    case "user":
      return [
        {
          role: "user",
          content: [
            { type: "text", text: turn.text },
            ...(turn.png === undefined ? [] : [{ type: "file" as const, data: turn.png, mediaType: "image/png" }]),
          ],
        },
      ];
    case "reply":
      return turn.reply as ModelMessage[];
    case "results":
      return [
        {
          role: "tool",
          content: turn.results.map(({ id, name, text }) => ({
            type: "tool-result",
            toolCallId: id,
            toolName: name,
            output: { type: "text", value: text },
          })),
        },
      ];
  }
}

function seen(step: StepResult<ToolSet>, reply: unknown, warnings: string): Seen {
  const { text, reasoningText, toolCalls, finishReason, usage } = step;
  return {
    text,
    reasoning: reasoningText ?? "",
    calls: toolCalls.map(({ toolCallId, toolName, input }) => ({ id: toolCallId, name: toolName, input })),
    end: finishReason,
    usage,
    reply,
    warnings,
  };
}
