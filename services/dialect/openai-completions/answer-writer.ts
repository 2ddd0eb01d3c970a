import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ChoiceEnd, GenerateEvent, ReplyStart, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { characters, writeLogprobs } from "./logprobs.ts";
import { writeStopReason } from "./stop-reason.ts";
import { mergeUsage, writeUsage } from "./usage.ts";

interface Choice {
  text: string;
  readonly logprobs: TokenLogprob[];
  end: ChoiceEnd | undefined;
}

/** Writes a whole answer: text and refusals. Reasoning and whatever else is no text have no place. */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  const choices = new Map<number, Choice>();
  let head = writeHead(undefined, options);
  let usage: Usage | undefined;

  function choiceOf(index: number): Choice {
    const known = choices.get(index);
    const choice = known ?? { text: "", logprobs: [], end: undefined };
    if (known === undefined) choices.set(index, choice);
    return choice;
  }

  for (const { kind } of events) {
    if (kind.case === "start") head = writeHead(kind.value, options);
    else if (kind.case === "usage") usage = mergeUsage(usage, kind.value);
    else if (kind.case === "delta") {
      const { content } = kind.value;
      if (content.case !== "text" && content.case !== "refusal") continue;
      const choice = choiceOf(kind.value.choice);
      choice.text += content.value;
      choice.logprobs.push(...kind.value.logprobs);
    } else if (kind.case === "end") {
      for (const end of kind.value.choices) choiceOf(end.choice).end = end;
      usage = kind.value.usage ?? usage;
    }
  }
  if (choices.size === 0) choiceOf(0);
  const written = [...choices].sort(([a], [b]) => a - b);
  const counts = writeUsage(usage);
  return JSON.stringify({
    ...head,
    choices: written.map(([index, { text, logprobs, end }]) => ({
      text,
      index,
      logprobs: logprobs.length === 0 ? null : writeLogprobs(logprobs, promptCharacters(options)),
      finish_reason: finishReason(end),
    })),
    ...(counts === undefined ? {} : { usage: counts }),
  });
}

/** The members that stand first in a body, and in every chunk. */
export function writeHead(start: ReplyStart | undefined, options: AnswerOptions): JsonObject {
  const createTimeMs = start?.createTime === undefined ? options.createTimeMs : timestampMs(start.createTime);
  const fingerprint = start?.systemFingerprint ?? "";
  return {
    id: start?.id || options.id,
    object: "text_completion",
    created: Math.floor(createTimeMs / 1_000),
    model: start?.model || options.model,
    ...(fingerprint === "" ? {} : { system_fingerprint: fingerprint }),
  };
}

export function finishReason(end: ChoiceEnd | undefined): string {
  return end === undefined ? "stop" : writeStopReason(end.reason, end.rawReason);
}

/** Characters of the client's prompt, from where its offsets count. */
export function promptCharacters({ request }: AnswerOptions): number {
  const { prompt } = request;
  const text: unknown = Array.isArray(prompt) ? prompt[0] : prompt;
  return typeof text === "string" ? characters(text) : 0;
}
