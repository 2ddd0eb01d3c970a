import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { noBytes } from "../bytes.ts";
import { readInput } from "../claude/tool-input.ts";
import type { AnswerReading } from "../codec.ts";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
  warning,
} from "../events.ts";
import { isJsonObject } from "../fields.ts";
import { isObject, type JsonObject, writeJson } from "../json.ts";
import { codePoints, readCitation } from "./citation.ts";
import { readDetails, readStopSequence } from "./details.ts";
import { imageFormats } from "./formats.ts";
import { readCallProof, readSignature } from "./reasoning.ts";
import { readStopReason } from "./stop-reason.ts";
import { readUsage } from "./usage.ts";

/**
 * Reads the body of a Converse answer, leniently. It has no id, no time and, but for prompt routers, no model.
 * @returns undefined when it is none
 */
export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const output = body["output"];
  const message = isObject(output) ? output["message"] : undefined;
  if (!isObject(message)) return undefined;
  const events: GenerateEvent[] = [
    startEvent({ id: "", model: routedModel(body), serviceTier: typeOf(body["serviceTier"]) }),
  ];
  readContent(message["content"], events);
  const usage = readUsage(body["usage"], body["serviceTier"]);
  const word = typeof body["stopReason"] === "string" ? body["stopReason"] : "";
  const end = choiceEnd(0, readStopReason(word), word, readStopSequence(body));
  const details = readDetails(body, ["additionalModelResponseFields", "metrics", "performanceConfig", "trace"]);
  events.push(endEvent([end], usage?.usage, details));
  return { events, usage };
}

function typeOf(value: unknown): string {
  const type = isObject(value) ? value["type"] : undefined;
  return typeof type === "string" ? type : "";
}

/** The model that a prompt router has chosen. */
function routedModel({ trace }: JsonObject): string {
  const router = isObject(trace) ? trace["promptRouter"] : undefined;
  const model = isObject(router) ? router["invokedModelId"] : undefined;
  return typeof model === "string" ? model : "";
}

function readContent(content: unknown, events: GenerateEvent[]): void {
  const calls = new Map<string, number>();
  let part = 0;
  for (const block of Array.isArray(content) ? (content as unknown[]) : []) {
    if (isObject(block) && readBlock(block, part, calls, events)) part += 1;
  }
}

/** Appends the events of a block. @returns whether it made a part */
function readBlock(block: JsonObject, part: number, calls: Map<string, number>, events: GenerateEvent[]): boolean {
  const { text, toolUse, reasoningContent, citationsContent, image } = block;
  if (typeof text === "string") events.push(textEvent(0, part, text));
  else if (isObject(toolUse) && toolUse["type"] == null) {
    calls.set(textOf(toolUse["toolUseId"]), part);
    events.push(toolUseEvent(toolUse, part));
  } else if (isObject(reasoningContent)) return readReasoning(reasoningContent, part, calls, events);
  else if (isObject(citationsContent)) readCitations(citationsContent, part, events);
  else {
    const media = readImage(image);
    if (media === undefined) {
      events.push(skippedBlock());
      return false;
    }
    events.push(imageEvent(0, part, media));
  }
  return true;
}

/** The warning for a block of a kind that the canonical form does not know, such as what AWS's own tools leave. */
export function skippedBlock(): GenerateEvent {
  const value = warning("block_dropped", "", "The provider sent a block that cannot be translated; it was left out.");
  return { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: "warning", value } };
}

function toolUseEvent({ toolUseId, name, input }: JsonObject, part: number): GenerateEvent {
  const text = isJsonObject(input) ? readInput(input) : writeJson(input ?? {});
  return toolCallEvent(0, part, { id: textOf(toolUseId), name: textOf(name), arguments: text });
}

function readReasoning(
  { reasoningText, redactedContent }: JsonObject,
  part: number,
  calls: ReadonlyMap<string, number>,
  events: GenerateEvent[],
): boolean {
  if (isObject(reasoningText)) {
    const proof = readSignature(textOf(reasoningText["signature"]));
    events.push(reasoningEvent(0, part, { text: textOf(reasoningText["text"]), ...proof }));
    return true;
  }
  const sealed = typeof redactedContent === "string" ? Buffer.from(redactedContent, "base64") : noBytes;
  const proof = readCallProof(sealed);
  if (proof === undefined) {
    events.push(reasoningEvent(0, part, { sealed }));
    return true;
  }
  const call = calls.get(proof.callId);
  if (call !== undefined) events.push(toolCallEvent(0, call, { signature: proof.signature }));
  return false;
}

function readCitations({ content, citations }: JsonObject, part: number, events: GenerateEvent[]): void {
  let text = "";
  for (const piece of Array.isArray(content) ? (content as unknown[]) : []) {
    if (isObject(piece)) text += textOf(piece["text"]);
  }
  events.push(textEvent(0, part, text));
  for (const citation of Array.isArray(citations) ? (citations as unknown[]) : []) {
    if (isObject(citation)) events.push(citationEvent(0, part, readCitation(citation, codePoints(text))));
  }
}

function readImage(image: unknown): Media | undefined {
  const source = isObject(image) ? image["source"] : undefined;
  if (!isObject(image) || !isObject(source)) return undefined;
  const mediaType = imageFormats.mediaType(textOf(image["format"])) ?? "";
  if (typeof source["bytes"] === "string") return imageOf(Buffer.from(source["bytes"], "base64"), mediaType);
  const location = source["s3Location"];
  return isObject(location) ? imageOf(textOf(location["uri"]), mediaType) : undefined;
}

/** A picture of bytes, or at an address. */
export function imageOf(source: Uint8Array | string, mediaType: string): Media {
  return {
    $typeName: "weir.chat.v1.Media",
    source: typeof source === "string" ? { case: "url", value: source } : { case: "data", value: source },
    mediaType,
    filename: "",
    detail: "",
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
