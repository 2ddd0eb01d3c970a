import type { Citation, Media, ToolCall } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { GenerateEvent, ReplyCitation, ReplyDelta, ReplyEnd } from "@weir/gen/weir/chat/v1/event_pb";
import { writeBase64 } from "../base64.ts";
import { noBytes } from "../bytes.ts";
import { writeInput } from "../claude/tool-input.ts";
import type { AnswerOptions } from "../codec.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { writeText } from "./citation.ts";
import { writeDetails } from "./details.ts";
import { imageFormats } from "./formats.ts";
import { isRedacted, type ReasoningFacts, writeCallProof, writeSignature } from "./reasoning.ts";
import { isServiceTier } from "./service-tier.ts";
import { writeStopReason } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

type Part =
  | { readonly kind: "text"; text: string; readonly citations: Citation[] }
  | ({ readonly kind: "reasoning" } & { -readonly [K in keyof ReasoningFacts]: ReasoningFacts[K] })
  | ({ readonly kind: "toolCall" } & Pick<ToolCall, "id" | "name" | "arguments" | "signature">)
  | { readonly kind: "image"; readonly image: Media };

/** Writes the body of a Converse answer. `events` end with `end`. */
export function writeAnswer(events: readonly GenerateEvent[], { request }: AnswerOptions): string {
  const parts = new Map<number, Part>();
  let tier = "";
  let end: ReplyEnd | undefined;
  for (const { kind } of events) {
    if (kind.case === "start") tier = kind.value.serviceTier;
    else if (kind.case === "delta" && kind.value.choice === 0) addDelta(parts, kind.value);
    else if (kind.case === "citation" && kind.value.choice === 0) addCitation(parts, kind.value);
    else if (kind.case === "end") end = kind.value;
  }
  const content = [...parts.values()].flatMap(writePart);
  const choice = end?.choices.find(({ choice: index }) => index === 0);
  const stopReason = writeStopReason(choice?.reason ?? 0, choice?.rawReason ?? "");
  const usage = writeUsage(end?.usage);
  return writeJson({
    ...answerFields(choice?.stopSequence ?? "", request),
    ...writeDetails(end?.details, ["additionalModelResponseFields", "performanceConfig", "trace"]),
    ...writeMetrics(end?.details),
    output: { message: { role: "assistant", content } },
    ...(isServiceTier(tier) ? { serviceTier: { type: tier } } : {}),
    stopReason,
    ...(usage === undefined ? {} : { usage }),
  });
}

/** `metrics`, which the vendor promises in every answer; zero where nobody has measured. */
export function writeMetrics(details: JsonObject | undefined): JsonObject {
  return { metrics: { latencyMs: 0 }, ...writeDetails(details, ["metrics"]) };
}

/** The stop sequence that was met, for clients that ask for it in `additionalModelResponseFieldPaths`. */
export function answerFields(stopSequence: string, request: JsonObject): JsonObject {
  const paths = request["additionalModelResponseFieldPaths"];
  const asked = Array.isArray(paths) && paths.includes("/stop_sequence");
  return asked && stopSequence !== "" ? { additionalModelResponseFields: { stop_sequence: stopSequence } } : {};
}

function addDelta(parts: Map<number, Part>, { part: index, content }: ReplyDelta): void {
  switch (content.case) {
    case "text":
    case "refusal":
      textPart(parts, index).text += content.value;
      break;
    case "audio":
      // Nobody can ask for sound in this dialect; what was said is not lost.
      textPart(parts, index).text += content.value.transcript;
      break;
    case "reasoning": {
      const { text, signature, sealed, id } = content.value;
      const part = partOf(parts, index, "reasoning", () => {
        return { kind: "reasoning", text: "", signature: noBytes, sealed: noBytes, id: "" };
      });
      part.text += text;
      if (signature.length > 0) part.signature = signature;
      if (sealed.length > 0) part.sealed = sealed;
      if (id !== "") part.id = id;
      break;
    }
    case "toolCall": {
      const { id, name, arguments: text, signature } = content.value;
      const part = partOf(parts, index, "toolCall", () => {
        return { kind: "toolCall", id: "", name: "", arguments: "", signature: noBytes };
      });
      if (id !== "") part.id = id;
      if (name !== "") part.name = name;
      if (signature.length > 0) part.signature = signature;
      part.arguments += text;
      break;
    }
    case "image":
      parts.set(index, { kind: "image", image: content.value });
      break;
    case undefined:
  }
}

function addCitation(parts: Map<number, Part>, { part, citation }: ReplyCitation): void {
  if (citation !== undefined) textPart(parts, part).citations.push(citation);
}

function textPart(parts: Map<number, Part>, index: number): Extract<Part, { kind: "text" }> {
  return partOf(parts, index, "text", () => ({ kind: "text", text: "", citations: [] }));
}

/** The part of an index, which is of one kind from its first delta on. */
function partOf<K extends Part["kind"]>(
  parts: Map<number, Part>,
  index: number,
  kind: K,
  make: () => Extract<Part, { kind: K }>,
): Extract<Part, { kind: K }> {
  const known = parts.get(index);
  if (known?.kind === kind) return known as Extract<Part, { kind: K }>;
  const made = make();
  parts.set(index, made);
  return made;
}

function writePart(part: Part): readonly JsonObject[] {
  switch (part.kind) {
    case "text":
      return [writeText(part)];
    case "reasoning":
      return [writeReasoning(part)];
    case "toolCall":
      return writeToolCall(part);
    case "image":
      return [writePicture(part.image)];
  }
}

function writeReasoning(reasoning: ReasoningFacts): JsonObject {
  if (isRedacted(reasoning)) return { reasoningContent: { redactedContent: writeBase64(reasoning.sealed) } };
  const signature = writeSignature(reasoning);
  return { reasoningContent: { reasoningText: { text: reasoning.text, ...(signature === "" ? {} : { signature }) } } };
}

function writeToolCall({
  id,
  name,
  arguments: text,
  signature,
}: Extract<Part, { kind: "toolCall" }>): readonly JsonObject[] {
  const call = { toolUse: { toolUseId: id, name, input: writeInput(text) } };
  if (signature.length === 0) return [call];
  return [call, { reasoningContent: { redactedContent: writeBase64(writeCallProof({ callId: id, signature })) } }];
}

/** A picture as a block; one that only other vendors can fetch is told by its address. */
function writePicture(image: Media): JsonObject {
  const source = writeImageSource(image);
  return source === undefined ? { text: image.source.value ?? "" } : { image: { format: imageFormat(image), source } };
}

export function imageFormat({ mediaType }: Media): string {
  return imageFormats.format(mediaType) ?? "png";
}

/** Where a picture is; undefined when that is no place that Converse knows. */
export function writeImageSource({ source }: Media): JsonObject | undefined {
  if (source.case === "data") return { bytes: writeBase64(source.value) };
  return source.case === "url" && source.value.startsWith("s3://") ? { s3Location: { uri: source.value } } : undefined;
}
