import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { createReplyReader } from "./reply-reader.ts";
import { readUsage } from "./usage.ts";

/** See {@link Codec.readAnswer}. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const { content } = body;
  if (!Array.isArray(content) || (body["type"] ?? "message") !== "message") return undefined;
  const usage = readUsage(body["usage"]);
  const events: GenerateEvent[] = [];
  const reply = createReplyReader();
  reply.start(body, events);
  for (const [index, block] of content.entries()) {
    if (!reply.startBlock(index, isObject(block) ? block : {}, events)) return undefined;
    reply.stopBlock(index, events);
  }
  reply.noteEnd(body);
  reply.end(usage?.usage, events);
  return { events, usage };
}
