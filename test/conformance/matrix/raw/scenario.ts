import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import type { Door } from "../client.ts";
import { pixel } from "../speech.ts";

// One rich request, once in the words of each of the two libraries that most programs use.

export const picture = pixel.toString("base64");

export const weatherSchema = {
  type: "object" as const,
  properties: { city: { type: "string" }, days: { type: "integer", minimum: 1 } },
  required: ["city"],
  additionalProperties: false,
};

export const answerSchema = {
  type: "object",
  properties: { colour: { type: "string", enum: ["grey", "red"] }, degrees: { type: ["number", "null"] } },
  required: ["colour", "degrees"],
  additionalProperties: false,
};

/** Sends it with the official `openai` package. @returns the answer's headers */
export async function askWithOpenai({ url, key }: Door, model: string): Promise<Headers> {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const { response } = await client.chat.completions.create({ model, ...openaiRequest }).withResponse();
  return response.headers;
}

export const openaiRequest = {
  messages: [
    { role: "system", content: "Answer in one sentence." },
    {
      role: "user",
      content: [
        { type: "text", text: "What is in the picture?" },
        { type: "image_url", image_url: { url: `data:image/png;base64,${picture}`, detail: "low" } },
      ],
    },
    {
      role: "assistant",
      content: "A grey pixel. I look the weather up.",
      tool_calls: [
        { id: "call_1", type: "function", function: { name: "get_weather", arguments: '{"city": "Köln", "days": 3}' } },
      ],
    },
    { role: "tool", tool_call_id: "call_1", content: "12 °C, rain" },
    { role: "user", content: "And as JSON?" },
  ],
  tools: [
    {
      type: "function",
      function: { name: "get_weather", description: "The weather of a city.", parameters: weatherSchema, strict: true },
    },
  ],
  tool_choice: "auto",
  response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: answerSchema } },
  reasoning_effort: "low",
  temperature: 0.5,
  top_p: 0.9,
  max_completion_tokens: 800,
  safety_identifier: "user-7",
} satisfies Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, "model">;

/** Sends it with the official `@anthropic-ai/sdk`. @returns the answer's headers */
export async function askWithAnthropic({ url, key }: Door, model: string): Promise<Headers> {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const { response } = await client.messages.create({ model, ...anthropicRequest }).withResponse();
  return response.headers;
}

export const anthropicRequest = {
  max_tokens: 800,
  system: [{ type: "text", text: "Answer in one sentence." }],
  messages: [
    {
      role: "user",
      content: [
        { type: "text", text: "What is in the picture?" },
        { type: "image", source: { type: "base64", media_type: "image/png", data: picture } },
      ],
    },
    {
      role: "assistant",
      content: [
        { type: "text", text: "A grey pixel. I look the weather up." },
        { type: "tool_use", id: "toolu_1", name: "get_weather", input: { city: "Köln", days: 3 } },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: "toolu_1", content: [{ type: "text", text: "12 °C, rain" }] },
        { type: "text", text: "And as JSON?" },
      ],
    },
  ],
  tools: [{ name: "get_weather", description: "The weather of a city.", input_schema: weatherSchema, strict: true }],
  tool_choice: { type: "auto" },
  thinking: { type: "adaptive", display: "summarized" },
  output_config: { effort: "low", format: { type: "json_schema", schema: answerSchema } },
  metadata: { user_id: "user-7" },
} satisfies Omit<Anthropic.MessageCreateParamsNonStreaming, "model">;
