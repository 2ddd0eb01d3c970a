import Anthropic, { APIError } from "@anthropic-ai/sdk";
import type { ContentBlock, MessageCreateParamsNonStreaming, MessageParam } from "@anthropic-ai/sdk/resources/messages";
import { type Ask, createHeaderWatch, type MatrixClient, type Seen, type Turn } from "../client.ts";
import { plainRaised } from "./raised.ts";

/** `messages` of the official `@anthropic-ai/sdk`. */
export const anthropicClient: MatrixClient = {
  dialect: "anthropic-messages",
  async ask({ url, key }, ask) {
    const { fetch, warnings } = createHeaderWatch();
    const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0, fetch });
    const options = ask.signal === undefined ? {} : { signal: ask.signal };
    if (!ask.stream) return read(await client.messages.create(write(ask), options), warnings());
    const stream = client.messages.stream(write(ask), options);
    if (ask.onText !== undefined) stream.on("text", ask.onText);
    return read(await stream.finalMessage(), warnings());
  },
  // https://platform.claude.com/docs/en/build-with-claude/prompt-caching: what was cached stands beside `input_tokens`.
  usage: ({ input, cached, written, output }) => ({
    input_tokens: input - (cached ?? 0) - (written ?? 0),
    cache_read_input_tokens: cached ?? null,
    cache_creation_input_tokens: written ?? null,
    output_tokens: output,
  }),
  ends: { text: "end_turn", calls: "tool_use" },
  raised(error) {
    if (!(error instanceof APIError)) return plainRaised(error);
    const { status, message, headers, type } = error as APIError<number | undefined, Headers | undefined>;
    return {
      name: error.constructor.name,
      status,
      words: [type],
      message: textOf(error) ?? message,
      retryAfter: headers?.get("retry-after") ?? undefined,
    };
  },
};

/** The library's own message is the whole body, with the request's id. */
function textOf({ error }: { readonly error: unknown }): string | undefined {
  return (error as { error?: { message?: string } } | undefined)?.error?.message;
}

function write({
  model,
  system,
  turns,
  tools,
  mustCall,
  schema,
  effort,
  cached,
}: Ask): MessageCreateParamsNonStreaming {
  const mark = cached === true ? { cache_control: { type: "ephemeral" as const } } : {};
  const outputConfig = {
    ...(schema === undefined ? {} : { format: { type: "json_schema" as const, schema: { ...schema } } }),
    ...(effort === undefined ? {} : { effort }),
  };
  return {
    model,
    max_tokens: 2_000,
    messages: turns.map(writeTurn),
    ...(system === undefined ? {} : { system: [{ type: "text", text: system, ...mark }] }),
    ...(tools === undefined
      ? {}
      : {
          tools: tools.map(({ name, description, parameters }) => ({
            name,
            description,
            input_schema: { type: "object" as const, ...parameters },
          })),
        }),
    ...(mustCall === true ? { tool_choice: { type: "any" as const } } : {}),
    ...(effort === undefined ? {} : { thinking: { type: "adaptive" as const } }),
    ...(Object.keys(outputConfig).length === 0 ? {} : { output_config: outputConfig }),
  };
}

function writeTurn(turn: Turn): MessageParam {
  switch (turn.kind) {
    case "user":
      if (turn.png === undefined) return { role: "user", content: turn.text };
      return {
        role: "user",
        content: [
          { type: "text", text: turn.text },
          { type: "image", source: { type: "base64", media_type: "image/png", data: turn.png.toString("base64") } },
        ],
      };
    case "reply":
      return { role: "assistant", content: turn.reply as ContentBlock[] };
    case "results":
      return {
        role: "user",
        content: turn.results.map(({ id, text }) => ({ type: "tool_result", tool_use_id: id, content: text })),
      };
  }
}

function read({ content, stop_reason: end, usage }: Anthropic.Message, warnings: string): Seen {
  return {
    text: content.map((block) => (block.type === "text" ? block.text : "")).join(""),
    reasoning: content.map((block) => (block.type === "thinking" ? block.thinking : "")).join(""),
    calls: content.flatMap((block) =>
      block.type === "tool_use" ? [{ id: block.id, name: block.name, input: block.input }] : [],
    ),
    end,
    usage,
    reply: content,
    warnings,
  };
}
