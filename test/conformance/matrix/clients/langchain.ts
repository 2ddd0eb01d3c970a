import {
  type AIMessage,
  type AIMessageChunk,
  type BaseMessage,
  HumanMessage,
  SystemMessage,
  ToolMessage,
} from "@langchain/core/messages";
import { concat } from "@langchain/core/utils/stream";
import { ChatOpenAI, type ChatOpenAICallOptions } from "@langchain/openai";
import { type Ask, createHeaderWatch, dataUrl, type MatrixClient, type Seen, type Turn } from "../client.ts";
import { openaiRaised, writeForm } from "./openai-chat.ts";

/** LangChain's `ChatOpenAI`, which speaks chat completions over the `openai` package. */
export const langchainClient: MatrixClient = {
  dialect: "openai-chat",
  async ask({ url, key }, ask) {
    const { fetch, warnings } = createHeaderWatch();
    const chat = new ChatOpenAI({
      model: ask.model,
      apiKey: key,
      configuration: { baseURL: `${url}/v1`, fetch },
      maxRetries: 0,
      // LangChain tells by a model's name whether it thinks, and names of aliases tell it nothing.
      ...(ask.effort === undefined ? {} : { modelKwargs: { reasoning_effort: ask.effort } }),
    });
    const messages = [
      ...(ask.system === undefined ? [] : [writeSystem(ask.system, ask.cached === true)]),
      ...ask.turns.flatMap(writeTurn),
    ];
    const options = write(ask);
    if (!ask.stream) return read(await chat.invoke(messages, options), warnings());
    let whole: AIMessageChunk | undefined;
    let reasoning = "";
    for await (const chunk of await chat.stream(messages, options)) {
      if (chunk.text !== "") ask.onText?.(chunk.text);
      reasoning += reasoningOf(chunk);
      whole = whole === undefined ? chunk : concat(whole, chunk);
    }
    if (whole === undefined) throw new Error("the stream was empty");
    return { ...read(whole, warnings()), reasoning };
  },
  // https://docs.langchain.com/oss/javascript/langchain/messages: the library's own form.
  usage: ({ input, cached, output, reasoning }) => ({
    input_tokens: input,
    output_tokens: output,
    total_tokens: input + output,
    ...(cached === undefined ? {} : { input_token_details: { cache_read: cached } }),
    ...(reasoning === undefined ? {} : { output_token_details: { reasoning } }),
  }),
  ends: { text: "stop", calls: "tool_calls" },
  raised: openaiRaised,
};

function write(ask: Ask): Partial<ChatOpenAICallOptions> {
  const { mustCall, signal } = ask;
  return {
    ...writeForm(ask),
    ...(mustCall === true ? { tool_choice: "any" } : {}),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** The mark is Anthropic's, as OpenRouter takes it: LangChain hands on members of parts that it does not know. */
function writeSystem(text: string, cached: boolean): SystemMessage {
  const mark = cached ? { cache_control: { type: "ephemeral" } } : {};
  return new SystemMessage({ content: [{ type: "text", text, ...mark }] });
}

function writeTurn(turn: Turn): BaseMessage[] {
  switch (turn.kind) {
    case "user":
      if (turn.png === undefined) return [new HumanMessage(turn.text)];
      return [
        new HumanMessage({
          content: [
            { type: "text", text: turn.text },
            { type: "image_url", image_url: { url: dataUrl(turn.png) } },
          ],
        }),
      ];
    case "reply":
      return [turn.reply as BaseMessage];
    case "results":
      return turn.results.map(({ id, name, text }) => new ToolMessage({ tool_call_id: id, name, content: text }));
  }
}

function read(message: AIMessageChunk | AIMessage, warnings: string): Seen {
  return {
    text: message.text,
    reasoning: reasoningOf(message),
    calls: (message.tool_calls ?? []).map(({ id, name, args }) => ({ id: id ?? "", name, input: args })),
    end: message.response_metadata["finish_reason"],
    usage: message.usage_metadata,
    reply: message,
    warnings,
  };
}

function reasoningOf({ additional_kwargs: more }: BaseMessage): string {
  const { reasoning_content: reasoning } = more as { reasoning_content?: string | null };
  return reasoning ?? "";
}
