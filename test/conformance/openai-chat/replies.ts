import type { AnswerOptions } from "@weir/dialect/codec";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "@weir/dialect/events";
import { writeFrames } from "@weir/dialect/framing/writer";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { Answer } from "./server.ts";

export const options: AnswerOptions = {
  id: "chatcmpl-own",
  createTimeMs: 1_700_000_000_000,
  model: "alias",
  includeUsage: true,
  request: {},
};

export const start = startEvent({ id: "chatcmpl-1", model: "m-1", createTimeMs: 1_700_000_000_000 });

const usage: Usage = {
  $typeName: "weir.common.v1.Usage",
  serverToolUses: {},
  inputTokens: 20,
  cachedInputTokens: 8,
  outputTokens: 9,
  reasoningTokens: 5,
};

const token = (text: string) => ({
  $typeName: "weir.chat.v1.TokenLogprob" as const,
  token: text,
  logprob: -0.25,
  bytes: Buffer.from(text),
  top: [],
});

export const stopped = endEvent([choiceEnd(0, StopReason.END, "end_turn")], usage);

/** Reasoning, a text with a source, in several pieces. */
export const speech: readonly GenerateEvent[] = [
  start,
  reasoningEvent(0, 0, { text: "Greet" }),
  reasoningEvent(0, 0, { text: " them.", signature: Buffer.from("sig") }),
  textEvent(0, 1, "Grüße", [token("Grüße")]),
  textEvent(0, 1, ' 👋 "you"\n', [token(" 👋")]),
  citationEvent(0, 1, {
    $typeName: "weir.chat.v1.Citation",
    start: 0,
    end: 5,
    title: "Greetings",
    url: "https://example.org/greetings",
    quote: "",
  }),
  stopped,
];

/** Two calls whose arguments come interleaved. */
export const calls: readonly GenerateEvent[] = [
  start,
  toolCallEvent(0, 0, { id: "call_a", name: "weather", signature: Buffer.from("proof") }),
  toolCallEvent(0, 1, { id: "call_b", name: "note" }),
  toolCallEvent(0, 0, { arguments: '{"city":' }),
  toolCallEvent(0, 1, { arguments: "free text" }),
  toolCallEvent(0, 0, { arguments: '"Köln"}' }),
  endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_use")], usage),
];

/** An answer as a stream of the codec's frames. */
export function stream(events: readonly GenerateEvent[], given: Partial<AnswerOptions> = {}, end = ""): Answer {
  const writer = openaiChat.createFrameWriter({ ...options, ...given });
  const frames = events.flatMap((event) => writer.write(event));
  const body = `${writeFrames(openaiChat.framing, frames).toString()}${end}`;
  return { headers: { "content-type": "text/event-stream" }, body, reset: end !== "" };
}

/** An answer as a whole. */
export function whole(events: readonly GenerateEvent[], given: Partial<AnswerOptions> = {}): Answer {
  return { body: openaiChat.writeAnswer(events, { ...options, ...given }) };
}
