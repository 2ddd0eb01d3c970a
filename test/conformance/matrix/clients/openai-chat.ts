import OpenAI, { APIError } from "openai";
import type {
  ChatCompletionCreateParamsNonStreaming,
  ChatCompletionMessageParam,
} from "openai/resources/chat/completions";
import {
  type Ask,
  createHeaderWatch,
  dataUrl,
  type Door,
  type MatrixClient,
  type Raised,
  type Seen,
  type Turn,
} from "../client.ts";
import type { Tokens } from "../../vendors/counts.ts";
import { plainRaised } from "./raised.ts";

/** `chat.completions` of the official `openai` package. */
export const openaiChatClient: MatrixClient = {
  dialect: "openai-chat",
  async ask(door, ask) {
    const { client, warnings } = connect(door);
    const params = write(ask);
    const options = ask.signal === undefined ? {} : { signal: ask.signal };
    if (!ask.stream) return read(await client.chat.completions.create(params, options), warnings());
    const stream = client.chat.completions.stream({ ...params, stream_options: { include_usage: true } }, options);
    if (ask.onText !== undefined) stream.on("content", ask.onText);
    let reasoning = "";
    stream.on("chunk", ({ choices }) => {
      reasoning += reasoningOf(choices[0]?.delta);
    });
    return { ...read(await stream.finalChatCompletion(), warnings()), reasoning };
  },
  usage: openaiUsage,
  ends: { text: "stop", calls: "tool_calls" },
  raised: openaiRaised,
};

/** The `openai` package, which must not hide failures by trying again. */
export function connect({ url, key }: Door) {
  const { fetch, warnings } = createHeaderWatch();
  return { client: new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, fetch }), warnings };
}

function write(ask: Ask): Omit<ChatCompletionCreateParamsNonStreaming, "stream"> {
  const { model, system, turns, mustCall, replies, effort, cached } = ask;
  const mark = cached === true ? { prompt_cache_breakpoint: { mode: "explicit" as const } } : {};
  return {
    model,
    messages: [
      ...(system === undefined
        ? []
        : [{ role: "system" as const, content: [{ type: "text" as const, text: system, ...mark }] }]),
      ...turns.flatMap(writeTurn),
    ],
    ...writeForm(ask),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
    ...(mustCall === true ? { tool_choice: "required" as const } : {}),
    ...(replies === undefined ? {} : { n: replies }),
  };
}

/** What the model may call, and the form that its reply must have. */
export function writeForm({ tools, schema }: Ask) {
  return {
    ...(tools === undefined
      ? {}
      : {
          tools: tools.map((tool) => ({
            type: "function" as const,
            function: { ...tool, parameters: { ...tool.parameters } },
          })),
        }),
    ...(schema === undefined
      ? {}
      : {
          response_format: {
            type: "json_schema" as const,
            json_schema: { name: "place", strict: true, schema: { ...schema } },
          },
        }),
  };
}

function writeTurn(turn: Turn): ChatCompletionMessageParam[] {
  switch (turn.kind) {
    case "user":
      if (turn.png === undefined) return [{ role: "user", content: turn.text }];
      return [
        {
          role: "user",
          content: [
            { type: "text", text: turn.text },
            { type: "image_url", image_url: { url: dataUrl(turn.png) } },
          ],
        },
      ];
    case "reply":
      return [turn.reply as ChatCompletionMessageParam];
    case "results":
      return turn.results.map(({ id, text }) => ({ role: "tool", tool_call_id: id, content: text }));
  }
}

function read({ choices, usage }: OpenAI.ChatCompletion, warnings: string): Seen {
  const [choice, ...others] = choices;
  return {
    text: choice?.message.content ?? "",
    reasoning: reasoningOf(choice?.message),
    calls: (choice?.message.tool_calls ?? []).flatMap((call) =>
      call.type === "function"
        ? [{ id: call.id, name: call.function.name, input: JSON.parse(call.function.arguments) as unknown }]
        : [],
    ),
    others: others.map(({ message }) => message.content ?? ""),
    end: choice?.finish_reason,
    usage,
    reply: choice?.message,
    warnings,
  };
}

/** DeepSeek's member, which clients of compatible vendors look for; the package's types do not name it. */
function reasoningOf(message: object | undefined): string {
  const { reasoning_content: reasoning } = (message ?? {}) as { reasoning_content?: string | null };
  return reasoning ?? "";
}

/** https://platform.openai.com/docs/api-reference/chat/object: cached tokens and reasoning are inside the totals. */
export function openaiUsage({ input, cached, output, reasoning }: Tokens): object {
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    ...(cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: cached } }),
    ...(reasoning === undefined ? {} : { completion_tokens_details: { reasoning_tokens: reasoning } }),
  };
}

/** What the package's errors say. */
export function openaiRaised(error: unknown): Raised {
  if (!(error instanceof APIError)) return plainRaised(error);
  const { status, type, code, param, message, headers } = error as APIError<number | undefined, Headers | undefined>;
  return {
    name: error.constructor.name,
    status,
    words: [type, code, param],
    message,
    retryAfter: headers?.get("retry-after") ?? undefined,
  };
}
