import type { ChoiceEnd, GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, ProviderError, StreamFault, UsageReading } from "../codec.ts";
import { endEvent, usageEvent } from "../events.ts";
import { isObject, type JsonObject, parseObject } from "../json.ts";
import { readError } from "../openai/read-error.ts";
import { readUsage } from "../openai/usage.ts";
import { type ChoiceReader, createChoiceReader } from "./choice-reader.ts";
import { readReplyId } from "./chunk.ts";
import { isChoiceIndex } from "./read-answer.ts";
import { readReplyStart } from "./reply-start.ts";
import { textShapeOf } from "./text-shape.ts";

const unknownError: ProviderError = { code: "", type: "" };

/**
 * Reads a streamed answer. `[DONE]` ends it; without one, the answer is whole when the stream ends in order after every
 * choice that it spoke of, which is how OpenAI's own clients see it.
 */
export function createFrameReader(): FrameReader {
  const choices: (ChoiceReader | undefined)[] = []; // by index
  let started = false;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;

  function read(type: string, data: string, out: GenerateEvent[]): void {
    if (complete || fault !== undefined) return;
    if (data.length <= doneLengthMax) {
      const text = data.trim();
      if (text === "") return; // a sign of life
      if (text === "[DONE]") return end(out);
    }
    const json = parseObject(data);
    const error = json === undefined ? undefined : readError(json);
    const before = out.length;
    if (error !== undefined || type === "error") fault = { kind: "error", error: error ?? unknownError };
    else if (json === undefined || !readChunk(json, out)) {
      out.length = before;
      fault = { kind: "malformed" };
    }
  }

  function readChunk(json: JsonObject, out: GenerateEvent[]): boolean {
    const list = json["choices"] ?? noChoices;
    if (!Array.isArray(list)) return false;
    const reported = isObject(json["usage"]) ? readUsage(json["usage"], json["service_tier"]) : undefined;
    // Azure's first chunk tells of its filters alone, and has neither id nor model.
    if (list.length === 0 && reported === undefined) return true;
    start(json, out);
    for (const choice of list as readonly unknown[]) {
      if (!isObject(choice) || !readChoice(choice, json, out)) return false;
    }
    if (reported !== undefined) {
      usage = reported;
      out.push(usageEvent(reported.usage));
    }
    return true;
  }

  function start(json: JsonObject, out: GenerateEvent[]): void {
    if (started) return;
    started = true;
    out.push(readReplyStart(json));
  }

  function readChoice(choice: JsonObject, chunk: JsonObject, out: GenerateEvent[]): boolean {
    const index = choice["index"] ?? 0;
    if (!isChoiceIndex(index)) return false;
    const reader = (choices[index] ??= createChoiceReader(index, readReplyId(chunk)));
    const { delta, finish_reason: reason, stop_reason: stopSequence } = choice;
    if (isObject(delta)) {
      if (!reader.read(delta, choice["logprobs"], out)) return false;
    } else if (delta != null) return false;
    if (typeof reason === "string" && reason !== "") {
      reader.finish(reason, typeof stopSequence === "string" ? stopSequence : "");
    }
    return true;
  }

  function end(out: GenerateEvent[]): void {
    start(nothing, out);
    const ends: ChoiceEnd[] = [];
    for (const reader of choices) {
      const choiceEnd = reader?.end(out);
      if (choiceEnd !== undefined) ends.push(choiceEnd);
      else if (reader !== undefined) {
        fault = { kind: "malformed" };
        return;
      }
    }
    out.push(endEvent(ends, usage?.usage));
    complete = true;
  }

  return {
    read,
    finish(out) {
      if (complete || fault !== undefined) return;
      const known = choices.filter((reader) => reader !== undefined);
      if (known.length > 0 && known.every((reader) => reader.finished)) end(out);
    },
    textShapeOf,
    get complete() {
      return complete;
    },
    get fault() {
      return fault;
    },
    get usage() {
      return usage;
    },
  };
}

/** More characters than `[DONE]` has with space around it. */
const doneLengthMax = 16;

const noChoices: readonly unknown[] = [];
const nothing: JsonObject = {};
