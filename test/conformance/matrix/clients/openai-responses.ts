import type OpenAI from "openai";
import type { ResponseCreateParamsNonStreaming, ResponseInputItem } from "openai/resources/responses/responses";
import { type Ask, dataUrl, type MatrixClient, type Seen, type Turn } from "../client.ts";
import { connect, openaiRaised } from "./openai-chat.ts";

/** `responses` of the official `openai` package. */
export const openaiResponsesClient: MatrixClient = {
  dialect: "openai-responses",
  async ask(door, ask) {
    const { client, warnings } = connect(door);
    const options = ask.signal === undefined ? {} : { signal: ask.signal };
    if (!ask.stream) return read(await client.responses.create(write(ask), options), warnings());
    const stream = client.responses.stream(write(ask), options);
    const { onText } = ask;
    if (onText !== undefined) stream.on("response.output_text.delta", ({ delta }) => onText(delta));
    return read(await stream.finalResponse(), warnings());
  },
  // https://platform.openai.com/docs/api-reference/responses/object
  usage: ({ input, cached, output, reasoning }) => ({
    input_tokens: input,
    input_tokens_details: { cached_tokens: cached ?? 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning ?? 0 },
    total_tokens: input + output,
  }),
  ends: { text: "completed", calls: "completed" },
  raised: openaiRaised,
};

function write({
  model,
  system,
  turns,
  tools,
  mustCall,
  schema,
  effort,
  cached,
}: Ask): Omit<ResponseCreateParamsNonStreaming, "stream"> {
  const mark = cached === true ? { prompt_cache_breakpoint: { mode: "explicit" as const } } : {};
  return {
    model,
    input: [
      ...(system === undefined
        ? []
        : [{ role: "system" as const, content: [{ type: "input_text" as const, text: system, ...mark }] }]),
      ...turns.flatMap(writeTurn),
    ],
    ...(tools === undefined
      ? {}
      : {
          tools: tools.map((tool) => ({
            type: "function" as const,
            ...tool,
            parameters: { ...tool.parameters },
            strict: null,
          })),
        }),
    ...(schema === undefined
      ? {}
      : { text: { format: { type: "json_schema" as const, name: "place", strict: true, schema: { ...schema } } } }),
    ...(mustCall === true ? { tool_choice: "required" as const } : {}),
    ...(effort === undefined ? {} : { reasoning: { effort }, include: ["reasoning.encrypted_content" as const] }),
  };
}

function writeTurn(turn: Turn): ResponseInputItem[] {
  switch (turn.kind) {
    case "user":
      if (turn.png === undefined) return [{ role: "user", content: turn.text }];
      return [
        {
          role: "user",
          content: [
            { type: "input_text", text: turn.text },
            { type: "input_image", image_url: dataUrl(turn.png), detail: "auto" },
          ],
        },
      ];
    case "reply":
      return turn.reply as ResponseInputItem[];
    case "results":
      return turn.results.map(({ id, text }) => ({ type: "function_call_output", call_id: id, output: text }));
  }
}

function read({ output, output_text: text, status, usage }: OpenAI.Responses.Response, warnings: string): Seen {
  return {
    text,
    reasoning: output
      .flatMap((item) => (item.type === "reasoning" ? [...(item.content ?? []), ...item.summary] : []))
      .map((part) => part.text)
      .join(""),
    calls: output.flatMap((item) =>
      item.type === "function_call"
        ? [{ id: item.call_id, name: item.name, input: JSON.parse(item.arguments) as unknown }]
        : [],
    ),
    end: status,
    usage,
    reply: output,
    warnings,
  };
}
