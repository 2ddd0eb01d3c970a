import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { readBase64 } from "../base64.ts";
import type { AnswerReading, UsageReading } from "../codec.ts";
import { choiceEnd, endEvent, imageEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { imageType } from "../image-type.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readLogprobs } from "../openai/logprobs.ts";
import { readDetails } from "./details.ts";
import { readError } from "./errors.ts";
import { readStopReason } from "./stop-reason.ts";
import { answerCallId, argumentsText } from "./tool-calls.ts";
import { readUsage } from "./usage.ts";

/** Reads a whole answer; undefined when the body is none. */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  if (!isObject(body["message"]) || readError(body) !== undefined) return undefined;
  const events = [readStart(body)];
  const message = createMessageReader();
  if (!message.read(body, events)) return undefined;
  const usage = readUsage(body);
  events.push(readEnd(body, message.calls(), usage));
  return { events, usage };
}

/** The beginning of a reply, by its first line or its whole body. */
export function readStart(json: JsonObject): GenerateEvent {
  const { model, created_at: created } = json;
  const createTimeMs = typeof created === "string" ? Date.parse(created) : Number.NaN;
  return startEvent({
    id: "",
    model: typeof model === "string" ? model : "",
    createTimeMs: Number.isNaN(createTimeMs) ? undefined : createTimeMs,
  });
}

/** The end of a reply, by its last line or its whole body. */
export function readEnd(json: JsonObject, calls: number, usage: UsageReading | undefined): GenerateEvent {
  const raw = typeof json["done_reason"] === "string" ? json["done_reason"] : "";
  return endEvent([choiceEnd(0, readStopReason(raw, calls > 0), raw)], usage?.usage, readDetails(json));
}

/** Reads the messages of one answer: its pieces, or the whole. */
interface MessageReader {
  /** Appends what a line or a body adds. What is odd counts as absent. @returns false for a call without name */
  read(json: JsonObject, out: GenerateEvent[]): boolean;
  /** How many calls there were. */
  calls(): number;
}

export function createMessageReader(): MessageReader {
  let part = -1;
  let kind: "reasoning" | "text" | "whole" | undefined;
  let calls = 0;

  /** The part that a piece belongs to: the last one when that is of the same kind. */
  function partOf(pieceKind: "reasoning" | "text" | "whole"): number {
    if (kind !== pieceKind || kind === "whole") part += 1;
    kind = pieceKind;
    return part;
  }

  function readImage(value: unknown, out: GenerateEvent[]): void {
    const data = typeof value === "string" ? readBase64(value) : undefined;
    if (data === undefined) return;
    const source = { case: "data", value: data } as const;
    const facts = { mediaType: imageType(data), filename: "", detail: "" };
    out.push(imageEvent(0, partOf("whole"), { $typeName: "weir.chat.v1.Media", source, ...facts }));
  }

  function readCall(call: unknown, answerTime: string, out: GenerateEvent[]): boolean {
    const target = isObject(call) ? call["function"] : undefined;
    if (!isObject(call) || !isObject(target)) return false;
    const { name } = target;
    if (typeof name !== "string" || name === "") return false;
    const text = argumentsText(target["arguments"]);
    const given = call["id"];
    const id = typeof given === "string" && given !== "" ? given : answerCallId(answerTime, calls, name, text);
    calls += 1;
    out.push(toolCallEvent(0, partOf("whole"), { id, name, arguments: text }));
    return true;
  }

  return {
    read(json, out) {
      const message = json["message"];
      if (!isObject(message)) return true;
      const thinking = textOf(message["thinking"]);
      const content = textOf(message["content"]);
      const { images, tool_calls: toolCalls } = message;
      const logprobs = json["logprobs"] == null ? [] : readLogprobs(json["logprobs"]);
      if (thinking !== "") {
        const event = reasoningEvent(0, partOf("reasoning"), { text: thinking });
        if (content === "" && event.kind.case === "delta") event.kind.value.logprobs = logprobs;
        out.push(event);
      }
      if (Array.isArray(images)) for (const image of images) readImage(image, out);
      // A token that is a part of a character has a probability before its text can be shown.
      if (content !== "" || (thinking === "" && logprobs.length > 0)) {
        out.push(textEvent(0, partOf("text"), content, logprobs));
      }
      const answerTime = textOf(json["created_at"]);
      return !Array.isArray(toolCalls) || toolCalls.every((call) => readCall(call, answerTime, out));
    },
    calls: () => calls,
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
