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
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";

export const options: AnswerOptions = { id: "msg_weir", createTimeMs: 0, model: "m", includeUsage: true, request: {} };

/** A reply with all that clients of Anthropic know, as another vendor might have made it. */
export const agentReply: readonly GenerateEvent[] = [
  startEvent({ id: "resp_1", model: "gpt-5" }),
  reasoningEvent(0, 0, { id: "rs_1" }),
  reasoningEvent(0, 0, { text: "Where is " }),
  reasoningEvent(0, 0, { text: "it?" }),
  reasoningEvent(0, 0, { sealed: Buffer.from([0, 255]) }),
  textEvent(0, 1, "In Paris"),
  textEvent(0, 1, " 😀."),
  citationEvent(0, 1, {
    $typeName: "weir.chat.v1.Citation",
    start: 3,
    end: 8,
    title: "Map",
    url: "https://example.com/map",
    quote: "Paris",
  }),
  toolCallEvent(0, 2, { id: "call_1", name: "weather" }),
  toolCallEvent(0, 2, { arguments: '{"city":"Pa' }),
  toolCallEvent(0, 2, { arguments: 'ris","days":[1,2]}' }),
  toolCallEvent(0, 3, { id: "call_2", name: "time", arguments: "{}" }),
  endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "completed")], {
    $typeName: "weir.common.v1.Usage",
    inputTokens: 100,
    cachedInputTokens: 60,
    cacheWriteTokens: 10,
    outputTokens: 50,
    reasoningTokens: 20,
    serverToolUses: { web_search: 1 },
  }),
];
