import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { createResponseReader } from "./response-reader.ts";

/**
 * Reads the body of `generateContent`: one with candidates, or with the reason why there are none.
 * @returns undefined when it is neither
 */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  if (!Array.isArray(body["candidates"]) && !isObject(body["promptFeedback"])) return undefined;
  const events: GenerateEvent[] = [];
  const reader = createResponseReader();
  if (!reader.read(body, events)) return undefined;
  reader.finish(events, true);
  return { events, usage: reader.usage };
}
