import type { VendorName } from "./kinds.ts";

/** An answer that thinks and calls, as the vendor's reference has it. */
export interface ProvenAnswer {
  readonly body: object;
  /** What the vendor wants to find in the next request, word for word. */
  readonly wanted: readonly string[];
}

/** What all of them think. */
export const thinking = "The user wants the weather.";

/** Proofs of reasoning that vendors want back with a call's result; undefined: the vendor knows none. */
export const provenAnswers: Readonly<Record<VendorName, ProvenAnswer | undefined>> = {
  // OpenAI keeps the reasoning of chat completions to itself.
  "openai-chat": undefined,
  // https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
  "openai-responses": {
    body: {
      id: "resp_68af4030592c81938ec0a5fbab4a3e9f",
      object: "response",
      created_at: 1_760_000_000,
      status: "completed",
      model: "gpt-5.1",
      output: [
        {
          type: "reasoning",
          id: "rs_68af4030baa48193b0b43b4c2a176a1a",
          summary: [{ type: "summary_text", text: thinking }],
          encrypted_content: "gAAAAABor0Aw-k2dFYV3bLFoYvwQ==",
        },
        {
          type: "function_call",
          id: "fc_68af40337e5081938b17e0c1a0ee0b4d",
          call_id: "call_oxz8",
          name: "get_time",
          arguments: "{}",
          status: "completed",
        },
      ],
    },
    wanted: ["rs_68af4030baa48193b0b43b4c2a176a1a", "gAAAAABor0Aw-k2dFYV3bLFoYvwQ==", "call_oxz8"],
  },
  // https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks
  anthropic: {
    body: {
      id: "msg_01XFDUDYJgAACzvnptvVoYEL",
      type: "message",
      role: "assistant",
      model: "claude-sonnet-4-6",
      content: [
        { type: "thinking", thinking, signature: "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=" },
        { type: "tool_use", id: "toolu_01A09q90qw90lq917835lq9", name: "get_time", input: {} },
      ],
      stop_reason: "tool_use",
      stop_sequence: null,
      usage: { input_tokens: 31, output_tokens: 17 },
    },
    wanted: [thinking, "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=", "toolu_01A09q90qw90lq917835lq9"],
  },
  // https://ai.google.dev/gemini-api/docs/thought-signatures
  gemini: {
    body: {
      responseId: "hello123",
      modelVersion: "gemini-3-pro",
      candidates: [
        {
          index: 0,
          finishReason: "STOP",
          content: {
            role: "model",
            parts: [
              { text: thinking, thought: true },
              { functionCall: { name: "get_time", args: {} }, thoughtSignature: "CiQB4/H/XkW8bR0+a2Vy/w==" },
            ],
          },
        },
      ],
      usageMetadata: { promptTokenCount: 31, candidatesTokenCount: 17, totalTokenCount: 48 },
    },
    wanted: ["CiQB4/H/XkW8bR0+a2Vy/w=="],
  },
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningTextBlock.html
  bedrock: {
    body: {
      output: {
        message: {
          role: "assistant",
          content: [
            { reasoningContent: { reasoningText: { text: thinking, signature: "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxB=" } } },
            { toolUse: { toolUseId: "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", name: "get_time", input: {} } },
          ],
        },
      },
      stopReason: "tool_use",
      usage: { inputTokens: 31, outputTokens: 17, totalTokens: 48 },
      metrics: { latencyMs: 551 },
    },
    wanted: [thinking, "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxB=", "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q"],
  },
  // https://docs.ollama.com/capabilities/tool-calling
  ollama: {
    body: {
      model: "qwen3",
      created_at: "2026-01-01T00:00:00Z",
      message: {
        role: "assistant",
        content: "",
        thinking,
        tool_calls: [{ function: { name: "get_time", arguments: {} } }],
      },
      done: true,
      done_reason: "stop",
      prompt_eval_count: 31,
      eval_count: 17,
    },
    wanted: [thinking],
  },
};
