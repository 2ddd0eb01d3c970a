import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { anthropicMessages } from "../anthropic-messages/codec.ts";
import { bedrockConverse } from "../bedrock-converse/codec.ts";
import type { Codec } from "../codec.ts";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { writeFrames } from "../framing/writer.ts";
import { gemini } from "../gemini/codec.ts";
import { ollama } from "../ollama/codec.ts";
import { openaiChat } from "../openai-chat/codec.ts";
import { openaiCompletions } from "../openai-completions/codec.ts";
import { openaiResponses } from "../openai-responses/codec.ts";
import { weirChat } from "../weir-chat/codec.ts";
import { weirGenerate } from "../weir-generate/codec.ts";

/** The bytes of a whole streamed answer in one dialect. */
export interface Stream {
  readonly codec: Codec;
  readonly name: string;
  readonly bytes: Buffer;
}

const usage = { $typeName: "weir.common.v1.Usage", inputTokens: 9, outputTokens: 5, serverToolUses: {} } as const;
const start = startEvent({ id: "reply_1", model: "m", createTimeMs: 1_760_000_000_000 });

const words: readonly GenerateEvent[] = [
  start,
  ...["Grüße ", "👋", "\r\n\u2028data: [DONE]"].map((text) => textEvent(0, 0, text)),
  endEvent([choiceEnd(0, StopReason.END, "")], { ...usage, serverToolUses: {} }),
];

const thoughtsAndCalls: readonly GenerateEvent[] = [
  start,
  reasoningEvent(0, 0, { text: "hm, ", id: "rs_1" }),
  reasoningEvent(0, 0, { text: "ja", signature: Buffer.from("c2ln") }),
  textEvent(0, 1, "wörld"),
  toolCallEvent(0, 2, { id: "call_1", name: "weather" }),
  toolCallEvent(0, 2, { arguments: '{"city":' }),
  toolCallEvent(0, 2, { arguments: '"Köln"}' }),
  toolCallEvent(0, 3, { id: "call_2", name: "time", arguments: "{}" }),
  endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "")], { ...usage, serverToolUses: {} }),
];

function written(codec: Codec, name: string, events: readonly GenerateEvent[]): Stream {
  const options = { id: "x", createTimeMs: 0, model: "m", includeUsage: true, request: {} };
  const writer = codec.createFrameWriter(options);
  const frames = events.flatMap((event) => writer.write(event));
  return { codec, name, bytes: Buffer.from(writeFrames(codec.framing, frames)) };
}

/** As vendors write them: their own line ends, comments, beats and members that nobody reads. */
const vendors: readonly (readonly [Codec, string, string])[] = [
  [
    openaiChat, // https://platform.openai.com/docs/api-reference/chat-streaming, with OpenRouter's comments
    "a vendor's own, with comments and carriage returns",
    ': PROCESSING\r\n\r\ndata: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"xy"}\r\n\r\n' +
      ': PROCESSING\r\n\r\ndata: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hé 🙂"},"finish_reason":null}]}\r\n\r\n' +
      'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n' +
      'data: {"id":"c","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\r\n\r\ndata: [DONE]\r\n\r\n',
  ],
  [
    anthropicMessages, // https://platform.claude.com/docs/en/build-with-claude/streaming
    "a vendor's own, with pings",
    'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}}\n\n' +
      'event: content_block_start\ndata: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}\n\nevent: ping\ndata: {"type": "ping"}\n\n' +
      'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé 🙂"}}\n\n' +
      'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n' +
      'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence":null}, "usage": {"output_tokens": 15}}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n',
  ],
  [
    gemini, // https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
    "a vendor's own, with carriage returns",
    'data: {"candidates": [{"content": {"parts": [{"text": "Hé"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 3,"totalTokenCount": 3},"modelVersion": "m","responseId": "r"}\r\n\r\n' +
      'data: {"candidates": [{"content": {"parts": [{"text": " 🙂"}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 3,"candidatesTokenCount": 2,"totalTokenCount": 5},"modelVersion": "m","responseId": "r"}\r\n\r\n',
  ],
  [
    ollama, // https://docs.ollama.com/api/chat
    "a vendor's own",
    '{"model":"m","created_at":"2025-10-01T10:00:00.5Z","message":{"role":"assistant","content":"Hé"},"done":false}\n' +
      '{"model":"m","created_at":"2025-10-01T10:00:00.6Z","message":{"role":"assistant","content":" 🙂"},"done":false}\n' +
      '{"model":"m","created_at":"2025-10-01T10:00:00.7Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1,"prompt_eval_count":3,"eval_count":2}\n',
  ],
];

/** The codecs of all dialects. */
const codecs: readonly Codec[] = [
  openaiChat,
  openaiResponses,
  openaiCompletions,
  anthropicMessages,
  gemini,
  bedrockConverse,
  ollama,
  weirGenerate,
  weirChat,
];

/** Streams of every dialect. */
export const streams: readonly Stream[] = [
  ...codecs.flatMap((codec) => [
    written(codec, "words", words),
    written(codec, "thoughts and calls", thoughtsAndCalls),
  ]),
  ...vendors.map(([codec, name, text]) => ({ codec, name, bytes: Buffer.from(text) })),
];
