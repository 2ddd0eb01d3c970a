import type { VendorName } from "../../vendors/kinds.ts";
import { answerSchema, openaiRequest, picture, weatherSchema } from "./scenario.ts";

/** What a vendor must receive, but for its model's name, and what the gateway must say it left out, in alphabetical order. */
export interface RawExpectation {
  readonly body: object;
  readonly warnings: readonly string[];
}

/** The request of the `openai` package as each vendor's reference has it. */
export const fromOpenai: Readonly<Record<VendorName, RawExpectation>> = {
  // https://platform.openai.com/docs/api-reference/chat/create: as it came
  "openai-chat": { body: openaiRequest, warnings: [] },

  // https://platform.openai.com/docs/api-reference/responses/create
  "openai-responses": {
    body: {
      instructions: "Answer in one sentence.",
      input: [
        {
          role: "user",
          content: [
            { type: "input_text", text: "What is in the picture?" },
            { type: "input_image", image_url: `data:image/png;base64,${picture}`, detail: "low" },
          ],
        },
        { role: "assistant", content: "A grey pixel. I look the weather up." },
        {
          type: "function_call",
          call_id: "call_1",
          name: "get_weather",
          arguments: '{"city": "Köln", "days": 3}',
        },
        { type: "function_call_output", call_id: "call_1", output: "12 °C, rain" },
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
      text: { format: { type: "json_schema", name: "answer", schema: answerSchema, strict: true } },
      reasoning: { effort: "low" },
      include: ["reasoning.encrypted_content"],
      temperature: 0.5,
      top_p: 0.9,
      max_output_tokens: 800,
      safety_identifier: "user-7",
    },
    warnings: [],
  },

  // https://platform.claude.com/docs/en/api/messages. Thinking takes no temperature but 1, and no top_p below 0.95:
  // https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
  anthropic: {
    body: {
      max_tokens: 800,
      stream: false,
      system: "Answer in one sentence.",
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
            { type: "tool_use", id: "call_1", name: "get_weather", input: { city: "Köln", days: 3 } },
          ],
        },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "call_1", content: "12 °C, rain" },
            { type: "text", text: "And as JSON?" },
          ],
        },
      ],
      tools: [
        { name: "get_weather", description: "The weather of a city.", input_schema: weatherSchema, strict: true },
      ],
      tool_choice: { type: "auto" },
      thinking: { type: "adaptive" },
      output_config: { effort: "low", format: { type: "json_schema", schema: answerSchema } },
      metadata: { user_id: "user-7" },
    },
    warnings: [
      "field_dropped messages[1]",
      "field_dropped response_format",
      "field_dropped temperature",
      "field_dropped top_p",
    ],
  },

  // https://ai.google.dev/api/generate-content. A call of another model's needs a mark that says so:
  // https://ai.google.dev/gemini-api/docs/thought-signatures
  gemini: {
    body: {
      systemInstruction: { parts: [{ text: "Answer in one sentence." }] },
      contents: [
        {
          role: "user",
          parts: [
            { text: "What is in the picture?" },
            {
              inlineData: { mimeType: "image/png", data: picture },
              mediaResolution: { level: "MEDIA_RESOLUTION_LOW" },
            },
          ],
        },
        {
          role: "model",
          parts: [
            { text: "A grey pixel. I look the weather up." },
            {
              functionCall: { id: "call_1", name: "get_weather", args: { city: "Köln", days: 3 } },
              thoughtSignature: "skip_thought_signature_validator",
            },
          ],
        },
        {
          role: "user",
          parts: [{ functionResponse: { id: "call_1", name: "get_weather", response: { output: "12 °C, rain" } } }],
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
        thinkingConfig: { thinkingLevel: "LOW" },
        temperature: 0.5,
        topP: 0.9,
        maxOutputTokens: 800,
      },
    },
    warnings: ["field_dropped response_format", "field_dropped safety_identifier"],
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
            { toolUse: { toolUseId: "call_1", name: "get_weather", input: { city: "Köln", days: 3 } } },
          ],
        },
        {
          role: "user",
          content: [
            { toolResult: { toolUseId: "call_1", content: [{ text: "12 °C, rain" }] } },
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
        textFormat: {
          type: "json_schema",
          structure: { jsonSchema: { name: "answer", schema: JSON.stringify(answerSchema) } },
        },
        effort: "low",
      },
      additionalModelRequestFields: { thinking: { type: "adaptive" } },
      inferenceConfig: { maxTokens: 800 },
    },
    warnings: [
      "field_dropped messages[1]",
      "field_dropped safety_identifier",
      "field_dropped temperature",
      "field_dropped top_p",
    ],
  },

  // https://docs.ollama.com/api/chat
  ollama: {
    body: {
      stream: false,
      messages: [
        { role: "system", content: "Answer in one sentence." },
        { role: "user", content: "What is in the picture?" },
        { role: "user", content: "", images: [picture] },
        {
          role: "assistant",
          content: "A grey pixel. I look the weather up.",
          tool_calls: [{ id: "call_1", function: { name: "get_weather", arguments: { city: "Köln", days: 3 } } }],
        },
        { role: "tool", content: "12 °C, rain", tool_name: "get_weather", tool_call_id: "call_1" },
        { role: "user", content: "And as JSON?" },
      ],
      tools: [
        {
          type: "function",
          function: { name: "get_weather", description: "The weather of a city.", parameters: weatherSchema },
        },
      ],
      format: answerSchema,
      think: "low",
      options: { temperature: 0.5, top_p: 0.9, num_predict: 800 },
    },
    warnings: [
      "field_dropped messages[1]",
      "field_dropped response_format",
      "field_dropped safety_identifier",
      "field_dropped tools[0]",
    ],
  },
};
