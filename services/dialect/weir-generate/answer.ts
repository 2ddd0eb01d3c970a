import type { GenerateEvent, ReplyEnd } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions, AnswerReading, UsageReading } from "../codec.ts";
import { choiceEnd, endEvent, startEvent, textEvent } from "../events.ts";
import type { JsonObject } from "../json.ts";
import { finishReason } from "../openai-completions/answer-writer.ts";
import { mergeUsage, writeUsage } from "../openai-completions/usage.ts";
import { readError } from "../openai/read-error.ts";
import { readStopReason } from "../openai/stop-reason.ts";
import { readUsage } from "../openai/usage.ts";

/** Reads a whole answer; undefined when the body is none. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const { id, model, generated_text: text } = body;
  if (typeof text !== "string" || readError(body) !== undefined) return undefined;
  const start = startEvent({ id: typeof id === "string" ? id : "", model: typeof model === "string" ? model : "" });
  const usage = readUsage(body["usage"]);
  const said = text === "" ? [] : [textEvent(0, 0, text)];
  return { events: [start, ...said, readEnd(body, usage)], usage };
}

/** The end of a reply, by its last frame or its whole body. */
export function readEnd(json: JsonObject, usage: UsageReading | undefined): GenerateEvent {
  const raw = typeof json["finish_reason"] === "string" ? json["finish_reason"] : "";
  return endEvent([choiceEnd(0, readStopReason(raw, false), raw)], usage?.usage);
}

/** Writes a whole answer: the text, refusals included, of the first choice. */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  let { id, model } = options;
  let text = "";
  let usage: Usage | undefined;
  let end: ReplyEnd | undefined;
  for (const { kind } of events) {
    if (kind.case === "start") {
      id = kind.value.id || id;
      model = kind.value.model || model;
    } else if (kind.case === "usage") usage = mergeUsage(usage, kind.value);
    else if (kind.case === "end") end = kind.value;
    else if (kind.case === "delta" && kind.value.choice === 0) {
      const { content } = kind.value;
      if (content.case === "text" || content.case === "refusal") text += content.value;
    }
  }
  return JSON.stringify({ id, model, generated_text: text, ...writeEnd(end, usage) });
}

/** The members that say how the text ended. */
export function writeEnd(end: ReplyEnd | undefined, usageSoFar: Usage | undefined): JsonObject {
  const usage = writeUsage(end?.usage ?? usageSoFar);
  return { finish_reason: finishReason(end?.choices[0]), ...(usage === undefined ? {} : { usage }) };
}
