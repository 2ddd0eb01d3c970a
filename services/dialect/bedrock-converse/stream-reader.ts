import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { ChoiceEnd, GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, StreamFault, UsageReading } from "../codec.ts";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../events.ts";
import { isObject, type JsonObject, parseObject } from "../json.ts";
import { imageOf, skippedBlock } from "./answer-reader.ts";
import { codePoints, readCitation } from "./citation.ts";
import { readDetails, readStopSequence } from "./details.ts";
import { imageFormats } from "./formats.ts";
import { readProviderError } from "./provider-error.ts";
import { readCallProof, readSignature } from "./reasoning.ts";
import { readStopReason } from "./stop-reason.ts";
import { readUsage } from "./usage.ts";

/** What is known of a content block that has begun. */
type Block =
  | { readonly kind: "text"; readonly part: number; characters: number; readonly citations: JsonObject[] }
  | { readonly kind: "reasoning"; readonly part: number }
  | { readonly kind: "toolUse"; readonly part: number; hasInput: boolean }
  | {
      readonly kind: "image";
      readonly part: number;
      readonly mediaType: string;
      readonly pieces: Buffer[];
      uri: string;
    }
  /** Of a kind that is not translated, or over. */
  | { readonly kind: "skipped" | "ended" };

/**
 * Creates the reader of a ConverseStream answer. Blocks of text and reasoning begin with their first delta, those of tools
 * with an event of their own. The answer is complete when both `messageStop` and `metadata`, which follows it with the usage,
 * have come, or when the stream ends in order after the former.
 * https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
 */
export function createFrameReader(): FrameReader {
  const blocks = new Map<number, Block>();
  const calls = new Map<string, number>();
  let parts = 0;
  let started = false;
  let skipped = false;
  let stopped: ChoiceEnd | undefined;
  let metadata = false;
  let details: Struct | undefined;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;

  function malformed(): void {
    fault = { kind: "malformed" };
  }

  function start(out: GenerateEvent[]): void {
    if (started) return;
    started = true;
    out.push(startEvent({ id: "", model: "" }));
  }

  /** The index of a content event; undefined for one that cannot be, which is a fault. */
  function indexOf(json: JsonObject): number | undefined {
    const index = json["contentBlockIndex"];
    if (stopped === undefined && Number.isInteger(index) && (index as number) >= 0) return index as number;
    malformed();
    return undefined;
  }

  function skip(index: number, out: GenerateEvent[]): void {
    if (!blocks.has(index)) blocks.set(index, { kind: "skipped" });
    if (!skipped) out.push(skippedBlock());
    skipped = true;
  }

  function readStart(json: JsonObject, out: GenerateEvent[]): void {
    const index = indexOf(json);
    if (index === undefined) return;
    if (blocks.has(index)) return malformed();
    start(out);
    const { toolUse, toolResult, image } = isObject(json["start"]) ? json["start"] : nothing;
    if (isObject(toolUse) && toolUse["type"] == null) {
      const id = textOf(toolUse["toolUseId"]);
      calls.set(id, parts);
      blocks.set(index, { kind: "toolUse", part: parts, hasInput: false });
      out.push(toolCallEvent(0, parts, { id, name: textOf(toolUse["name"]) }));
      parts += 1;
    } else if (isObject(image)) {
      const mediaType = imageFormats.mediaType(textOf(image["format"])) ?? "";
      blocks.set(index, { kind: "image", part: parts, mediaType, pieces: [], uri: "" });
      parts += 1;
    } else if (toolUse !== undefined || toolResult !== undefined) skip(index, out);
  }

  function readDelta(json: JsonObject, out: GenerateEvent[]): void {
    const index = indexOf(json);
    if (index === undefined) return;
    const delta = json["delta"];
    if (!isObject(delta)) return malformed();
    const block = blocks.get(index);
    if (block?.kind === "ended") return malformed();
    if (block?.kind === "skipped") return;
    start(out);
    if (typeof delta["text"] === "string") return readText(index, delta["text"], out);
    const { toolUse, reasoningContent, citation, image } = delta;
    if (isObject(toolUse)) {
      const input = toolUse["input"];
      if (block?.kind !== "toolUse" || typeof input !== "string") return malformed();
      if (input === "") return;
      block.hasInput = true;
      out.push(toolCallEvent(0, block.part, { arguments: input }));
    } else if (isObject(reasoningContent)) readReasoning(index, reasoningContent, out);
    else if (isObject(citation)) textBlock(index, out)?.citations.push(citation);
    else if (isObject(image) && block?.kind === "image") readImage(block, image["source"]);
    else skip(index, out);
  }

  function readText(index: number, text: string, out: GenerateEvent[]): void {
    const block = textBlock(index, out);
    if (block === undefined) return;
    block.characters += codePoints(text);
    out.push(textEvent(0, block.part, text));
  }

  /** The text block of an index, which begins with its first delta; undefined, with a fault, when it cannot. */
  function textBlock(index: number, out: GenerateEvent[]): Extract<Block, { kind: "text" }> | undefined {
    const known = blocks.get(index);
    if (known?.kind === "text") return known;
    const part = beginBlock(known, out);
    if (part === undefined) return undefined;
    const block = { kind: "text" as const, part, characters: 0, citations: [] };
    blocks.set(index, block);
    return block;
  }

  /** The part for a block of text or reasoning. Either may follow the other under one index, and nothing else. */
  function beginBlock(known: Block | undefined, out: GenerateEvent[]): number | undefined {
    if (known !== undefined && known.kind !== "text" && known.kind !== "reasoning") {
      malformed();
      return undefined;
    }
    if (known !== undefined) endBlock(known, out);
    parts += 1;
    return parts - 1;
  }

  function readReasoning(index: number, delta: JsonObject, out: GenerateEvent[]): void {
    const { text, signature, redactedContent } = delta;
    const sealed = typeof redactedContent === "string" ? Buffer.from(redactedContent, "base64") : undefined;
    const proof = sealed && readCallProof(sealed);
    if (proof !== undefined) {
      const call = calls.get(proof.callId);
      if (call !== undefined) out.push(toolCallEvent(0, call, { signature: proof.signature }));
      return;
    }
    const known = blocks.get(index);
    const part = known?.kind === "reasoning" ? known.part : beginBlock(known, out);
    if (part === undefined) return;
    if (known?.kind !== "reasoning") blocks.set(index, { kind: "reasoning", part });
    if (typeof text === "string") out.push(reasoningEvent(0, part, { text }));
    else if (typeof signature === "string") out.push(reasoningEvent(0, part, readSignature(signature)));
    else if (sealed !== undefined) out.push(reasoningEvent(0, part, { sealed }));
  }

  function readStop(json: JsonObject, out: GenerateEvent[]): void {
    const index = indexOf(json);
    if (index === undefined) return;
    start(out);
    const block = blocks.get(index);
    if (block?.kind === "ended") return malformed();
    if (block !== undefined) endBlock(block, out);
    blocks.set(index, { kind: "ended" });
  }

  function readMessageStop(json: JsonObject, out: GenerateEvent[]): void {
    if (stopped !== undefined) return malformed();
    start(out);
    for (const block of blocks.values()) endBlock(block, out);
    const word = textOf(json["stopReason"]);
    stopped = choiceEnd(0, readStopReason(word), word, readStopSequence(json));
    details = { ...details, ...readDetails(json, ["additionalModelResponseFields"]) };
    if (metadata) end(out);
  }

  function readMetadata(json: JsonObject, out: GenerateEvent[]): void {
    metadata = true;
    usage = readUsage(json["usage"], json["serviceTier"]) ?? usage;
    details = { ...details, ...readDetails(json, ["metrics", "performanceConfig", "serviceTier", "trace"]) };
    if (stopped !== undefined) end(out);
  }

  function end(out: GenerateEvent[]): void {
    if (stopped === undefined) return;
    complete = true;
    const told = details === undefined || Object.keys(details).length === 0 ? undefined : details;
    out.push(endEvent([stopped], usage?.usage, told));
  }

  function readEvent(type: string, data: string, out: GenerateEvent[]): void {
    const json = parseObject(data);
    if (json === undefined) return malformed();
    switch (type) {
      case "contentBlockDelta":
        return readDelta(json, out);
      case "contentBlockStart":
        return readStart(json, out);
      case "contentBlockStop":
        return readStop(json, out);
      case "messageStart":
        return started ? malformed() : start(out);
      case "messageStop":
        return readMessageStop(json, out);
      default:
        return readMetadata(json, out);
    }
  }

  return {
    read(type, data, out) {
      if (complete || fault !== undefined) return;
      if (events.has(type)) readEvent(type, data, out);
      else if (isException.test(type)) {
        const named = type.slice(type.indexOf(":") + 1);
        const error = readProviderError(parseObject(data) ?? nothing, named) ?? { code: "", type: "" };
        fault = { kind: "error", error };
      }
    },
    finish(out) {
      if (complete || fault !== undefined) return;
      if (stopped === undefined) malformed();
      else end(out);
    },
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

const nothing: JsonObject = {};

const events: ReadonlySet<string> = new Set([
  "messageStart",
  "contentBlockStart",
  "contentBlockDelta",
  "contentBlockStop",
  "messageStop",
  "metadata",
]);

const isException = /^(?:exception|error):/;

/** Appends what can be said of a block only when it is over. */
function endBlock(block: Block, out: GenerateEvent[]): void {
  switch (block.kind) {
    case "text":
      for (const citation of block.citations) {
        out.push(citationEvent(0, block.part, readCitation(citation, block.characters)));
      }
      break;
    case "toolUse":
      // A call without arguments streams none; in whole answers it has an empty object.
      if (!block.hasInput) out.push(toolCallEvent(0, block.part, { arguments: "{}" }));
      break;
    case "image": {
      const source = block.uri === "" ? Buffer.concat(block.pieces) : block.uri;
      out.push(imageEvent(0, block.part, imageOf(source, block.mediaType)));
      break;
    }
    case "reasoning":
    case "skipped":
    case "ended":
  }
}

function readImage(block: Extract<Block, { kind: "image" }>, source: unknown): void {
  if (!isObject(source)) return;
  const { bytes, s3Location } = source;
  if (typeof bytes === "string") block.pieces.push(Buffer.from(bytes, "base64"));
  else if (isObject(s3Location)) block.uri = textOf(s3Location["uri"]);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
