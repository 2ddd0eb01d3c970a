import type { VendorName } from "../../vendors/kinds.ts";
import { fromOpenai, type RawExpectation } from "./from-openai.ts";
import { anthropicRequest, answerSchema, picture, weatherSchema } from "./scenario.ts";

/** The request of the `@anthropic-ai/sdk` package as each vendor's reference has it. */
export const fromAnthropic: Readonly<Record<VendorName, RawExpectation>> = {
  // https://platform.openai.com/docs/api-reference/chat/create
  "openai-chat": {
    body: {
      messages: [
        { role: "system", content: "Answer in one sentence." },
        {
          role: "user",
          content: [
            { type: "text", text: "What is in the picture?" },
            { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
          ],
        },
        {
          role: "assistant",
          content: "A grey pixel. I look the weather up.",
          tool_calls: [
            {
              id: "toolu_1",
              type: "function",
              function: { name: "get_weather", arguments: '{"city":"Köln","days":3}' },
            },
          ],
        },
        { role: "tool", tool_call_id: "toolu_1", content: "12 °C, rain" },
        { role: "user", content: "And as JSON?" },
      ],
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            description: "The weather of a city.",
            parameters: weatherSchema,
            strict: true,
          },
        },
      ],
      tool_choice: "auto",
      response_format: {
        type: "json_schema",
        json_schema: { name: "response", schema: answerSchema, strict: true },
      },
      reasoning_effort: "low",
      // Most vendors know the older names alone; OpenAI itself gets `max_completion_tokens` and `safety_identifier`.
      max_tokens: 800,
      user: "user-7",
    },
    warnings: ["field_dropped thinking.display"],
  },

  // https://platform.openai.com/docs/api-reference/responses/create
  "openai-responses": {
    body: {
      instructions: "Answer in one sentence.",
      input: [
        {
          role: "user",
          content: [
            { type: "input_text", text: "What is in the picture?" },
            { type: "input_image", image_url: `data:image/png;base64,${picture}`, detail: "auto" },
          ],
        },
        { role: "assistant", content: "A grey pixel. I look the weather up." },
        { type: "function_call", call_id: "toolu_1", name: "get_weather", arguments: '{"city":"Köln","days":3}' },
        { type: "function_call_output", call_id: "toolu_1", output: "12 °C, rain" },
        { role: "user", content: "And as JSON?" },
      ],
      tools: [
        {
          type: "function",
          name: "get_weather",
          description: "The weather of a city.",
          parameters: weatherSchema,
          strict: true,
        },
      ],
      tool_choice: "auto",
      text: { format: { type: "json_schema", name: "reply", schema: answerSchema, strict: true } },
      reasoning: { effort: "low", summary: "auto" },
      include: ["reasoning.encrypted_content"],
      max_output_tokens: 800,
      safety_identifier: "user-7",
    },
    warnings: [],
  },

  // https://platform.claude.com/docs/en/api/messages: as it came
  anthropic: { body: anthropicRequest, warnings: [] },

  // https://ai.google.dev/api/generate-content
  gemini: {
    body: {
      systemInstruction: { parts: [{ text: "Answer in one sentence." }] },
      contents: [
        {
          role: "user",
          parts: [{ text: "What is in the picture?" }, { inlineData: { mimeType: "image/png", data: picture } }],
        },
        {
          role: "model",
          parts: [
            { text: "A grey pixel. I look the weather up." },
            {
              functionCall: { id: "toolu_1", name: "get_weather", args: { city: "Köln", days: 3 } },
              thoughtSignature: "skip_thought_signature_validator",
            },
          ],
        },
        {
          role: "user",
          parts: [{ functionResponse: { id: "toolu_1", name: "get_weather", response: { output: "12 °C, rain" } } }],
        },
        { role: "user", parts: [{ text: "And as JSON?" }] },
      ],
      tools: [
        {
          functionDeclarations: [
            { name: "get_weather", description: "The weather of a city.", parametersJsonSchema: weatherSchema },
          ],
        },
      ],
      // Calls, or text, but arguments by the schema: `strict` of a tool.
      toolConfig: { functionCallingConfig: { mode: "VALIDATED" } },
      generationConfig: {
        responseMimeType: "application/json",
        responseJsonSchema: answerSchema,
        thinkingConfig: { thinkingLevel: "LOW", includeThoughts: true },
        maxOutputTokens: 800,
      },
    },
    warnings: ["field_dropped metadata.user_id"],
  },

  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
  bedrock: {
    body: {
      system: [{ text: "Answer in one sentence." }],
      messages: [
        {
          role: "user",
          content: [{ text: "What is in the picture?" }, { image: { format: "png", source: { bytes: picture } } }],
        },
        {
          role: "assistant",
          content: [
            { text: "A grey pixel. I look the weather up." },
            { toolUse: { toolUseId: "toolu_1", name: "get_weather", input: { city: "Köln", days: 3 } } },
          ],
        },
        {
          role: "user",
          content: [
            { toolResult: { toolUseId: "toolu_1", content: [{ text: "12 °C, rain" }] } },
            { text: "And as JSON?" },
          ],
        },
      ],
      toolConfig: {
        tools: [
          {
            toolSpec: {
              name: "get_weather",
              description: "The weather of a city.",
              inputSchema: { json: weatherSchema },
              strict: true,
            },
          },
        ],
        toolChoice: { auto: {} },
      },
      outputConfig: {
        textFormat: { type: "json_schema", structure: { jsonSchema: { schema: JSON.stringify(answerSchema) } } },
        effort: "low",
      },
      additionalModelRequestFields: { thinking: { type: "adaptive", display: "summarized" } },
      inferenceConfig: { maxTokens: 800 },
    },
    warnings: ["field_dropped metadata.user_id"],
  },

  // https://docs.ollama.com/api/chat
  ollama: {
    body: {
      ...fromOpenai.ollama.body,
      messages: [
        { role: "system", content: "Answer in one sentence." },
        { role: "user", content: "What is in the picture?" },
        { role: "user", content: "", images: [picture] },
        {
          role: "assistant",
          content: "A grey pixel. I look the weather up.",
          tool_calls: [{ id: "toolu_1", function: { name: "get_weather", arguments: { city: "Köln", days: 3 } } }],
        },
        { role: "tool", content: "12 °C, rain", tool_name: "get_weather", tool_call_id: "toolu_1" },
        { role: "user", content: "And as JSON?" },
      ],
      options: { num_predict: 800 },
    },
    warnings: ["field_dropped metadata.user_id", "field_dropped thinking.display", "field_dropped tools[0]"],
  },
};
