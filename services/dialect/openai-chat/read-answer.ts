import type { ChoiceEnd, GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading } from "../codec.ts";
import { endEvent } from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readUsage } from "../openai/usage.ts";
import { createChoiceReader } from "./choice-reader.ts";
import { readReplyId } from "./chunk.ts";
import { readReplyStart } from "./reply-start.ts";

/** Reads the body of a whole answer; undefined when it is none. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const choices = body["choices"];
  if (!Array.isArray(choices)) return undefined;
  const events: GenerateEvent[] = [readReplyStart(body)];
  const ends: ChoiceEnd[] = [];
  for (const [position, choice] of (choices as unknown[]).entries()) {
    const end = isObject(choice) ? readChoice(choice, position, readReplyId(body), events) : undefined;
    if (end === undefined) return undefined;
    ends.push(end);
  }
  const usage = readUsage(body["usage"], body["service_tier"]);
  events.push(endEvent(ends, usage?.usage));
  return { events, usage };
}

function readChoice(
  choice: JsonObject,
  position: number,
  replyId: string,
  out: GenerateEvent[],
): ChoiceEnd | undefined {
  const index = choice["index"] ?? position;
  const { message, finish_reason: reason, stop_reason: stopSequence } = choice;
  if (!isChoiceIndex(index) || !isObject(message)) return undefined;
  const reader = createChoiceReader(index, replyId);
  if (!reader.read(message, choice["logprobs"], out)) return undefined;
  if (typeof reason === "string") reader.finish(reason, typeof stopSequence === "string" ? stopSequence : "");
  return reader.end(out);
}

/** More choices than a request may ask for; what a provider invents beyond is not followed. */
const choicesMax = 128;

export function isChoiceIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < choicesMax;
}
