import { type ChoiceEnd, type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading } from "../codec.ts";
import { choiceEnd, endEvent, startEvent, textEvent } from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readError } from "../openai/read-error.ts";
import { readStopReason } from "../openai/stop-reason.ts";
import { readUsage } from "../openai/usage.ts";
import { readLogprobs } from "./logprobs.ts";

/** Reads a whole answer; undefined when the body is none. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  if (!Array.isArray(body["choices"]) || readError(body) !== undefined) return undefined;
  const events = [readStart(body)];
  const choices = createChoices();
  if (!choices.read(body, events)) return undefined;
  const usage = readUsage(body["usage"]);
  events.push(endEvent(choices.ends(), usage?.usage));
  return { events, usage };
}

/** The beginning of a reply, by its first chunk or its whole body. */
export function readStart(json: JsonObject): GenerateEvent {
  const { id, model, created, system_fingerprint: fingerprint } = json;
  return startEvent({
    id: textOf(id),
    model: textOf(model),
    createTimeMs: Number.isSafeInteger(created) ? (created as number) * 1_000 : undefined,
    systemFingerprint: textOf(fingerprint),
  });
}

/** More choices than a request may ask for; what a provider invents beyond is a fault. */
const choicesMax = 128;

/** The choices of one answer: their pieces, or the whole. */
interface Choices {
  /** Appends what a chunk or a body adds. What is odd counts as absent. @returns false for an index that cannot be */
  read(json: JsonObject, out: GenerateEvent[]): boolean;
  /** Whether there are choices and all have ended. */
  complete(): boolean;
  /** Why each choice ended, in order. */
  ends(): ChoiceEnd[];
}

export function createChoices(): Choices {
  const finishes = new Map<number, string | undefined>();

  function readChoice(choice: JsonObject, out: GenerateEvent[]): boolean {
    const { index: given, text, logprobs, finish_reason: finish } = choice;
    const index = given ?? 0;
    if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= choicesMax) return false;
    const probabilities = logprobs == null ? [] : readLogprobs(logprobs);
    if ((typeof text === "string" && text !== "") || probabilities.length > 0) {
      out.push(textEvent(index, 0, textOf(text), probabilities));
    }
    if (typeof finish === "string" && finish !== "") finishes.set(index, finish);
    else if (!finishes.has(index)) finishes.set(index, undefined);
    return true;
  }

  return {
    read(json, out) {
      const { choices } = json;
      if (!Array.isArray(choices)) return true;
      return choices.every((choice) => !isObject(choice) || readChoice(choice, out));
    },
    complete: () => finishes.size > 0 && [...finishes.values()].every((finish) => finish !== undefined),
    ends() {
      const indexes = [...finishes.keys()].sort((a, b) => a - b);
      return indexes.map((index) => {
        const raw = finishes.get(index) ?? "";
        return choiceEnd(index, raw === "" ? StopReason.UNSPECIFIED : readStopReason(raw, false), raw);
      });
    },
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
