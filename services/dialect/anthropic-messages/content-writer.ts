import type {
  CacheControl,
  Media,
  Part,
  Reasoning,
  Text,
  ToolCall,
  ToolResult,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { asBuffer } from "../bytes.ts";
import { writeCallId, writeInput } from "../claude/tool-input.ts";
import { approximated } from "../events.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { writeCacheControl } from "./cache-control.ts";
import { ownCitation } from "./citations.ts";
import type { Place } from "./content-reader.ts";
import { writeDocument, writeImage } from "./media.ts";
import { isOwnReasoning } from "./sealed.ts";
import { dropped } from "./warnings.ts";

/** Writes parts as blocks. Texts without a character, which the vendor refuses, are left out. */
export function writeParts(parts: readonly Part[], param: string, place: Place, warnings: Warning[]): JsonObject[] {
  return parts.flatMap((part, index) => {
    const path = `${param}[${index}]`;
    const block = writeContent(part.content, path, place, warnings);
    const cache = part.cacheControl;
    if (block !== undefined && (cache === undefined || takesCacheControl(block))) {
      return [cache === undefined ? block : { ...block, cache_control: writeCache(cache, path, warnings) }];
    }
    if (cache !== undefined) warnings.push(dropped(`${path}.cache_control`));
    return block === undefined ? [] : [block];
  });
}

function takesCacheControl(block: JsonObject): boolean {
  return block["type"] !== "thinking" && block["type"] !== "redacted_thinking";
}

const ttlSecondsMax = 3_600;

/** @param param the path of what has the mark */
export function writeCache(cache: CacheControl, param: string, warnings: Warning[]): JsonObject {
  if (cache.ttlSeconds > ttlSecondsMax) {
    warnings.push(
      approximated(`${param}.cache_control.ttl_seconds`, "The target keeps its prompt cache for one hour at most."),
    );
  }
  return writeCacheControl(cache);
}

function writeContent(
  content: Part["content"],
  param: string,
  place: Place,
  warnings: Warning[],
): JsonObject | undefined {
  switch (content.case) {
    case "text":
      return writeText(content.value, `${param}.text`, warnings);
    case "refusal":
      warnings.push(approximated(`${param}.refusal`, "The target knows no refusals; it was sent as text."));
      return writeText(content.value, `${param}.refusal`, warnings);
    case "image":
      refuseInSystem(place, `${param}.image`);
      warnOfLooks(content.value, `${param}.image`, ["detail", "filename"], warnings);
      return writeImage(content.value, `${param}.image`);
    case "file":
      refuseInSystem(place, `${param}.file`);
      warnOfLooks(content.value, `${param}.file`, ["detail"], warnings);
      warnOfTextType(content.value, `${param}.file`, warnings);
      return writeDocument(content.value, `${param}.file`);
    case "toolCall":
      if (place !== "assistant") throw misplaced(`${param}.tool_call`);
      return writeToolUse(content.value, `${param}.tool_call`, warnings);
    case "toolResult":
      if (place !== "user") throw misplaced(`${param}.tool_result`);
      return writeToolResult(content.value, `${param}.tool_result`, warnings);
    case "reasoning":
      if (place !== "assistant") throw misplaced(`${param}.reasoning`);
      return writeOwnReasoning(content.value, `${param}.reasoning`, warnings);
    case "audio":
      throw unsupported("The target takes no sound.", `${param}.audio`);
    case undefined:
      throw unsupported("A part without content cannot be sent.", param);
  }
}

function writeText({ text, citations }: Text, param: string, warnings: Warning[]): JsonObject | undefined {
  if (text === "") return undefined;
  const own = citations.map(ownCitation).filter((citation) => citation !== undefined);
  if (own.length < citations.length) warnings.push(dropped(`${param}.citations`));
  return { type: "text", text, ...(own.length === 0 ? {} : { citations: own }) };
}

function refuseInSystem(place: Place, param: string): void {
  if (place === "system") throw unsupported("The target takes nothing but text in system messages.", param);
}

function warnOfLooks(
  media: Media,
  param: string,
  names: readonly ("detail" | "filename")[],
  warnings: Warning[],
): void {
  for (const name of names) {
    if (media[name] !== "" && media[name] !== "auto") warnings.push(dropped(`${param}.${name}`));
  }
}

function warnOfTextType({ mediaType }: Media, param: string, warnings: Warning[]): void {
  if (!mediaType.startsWith("text/") || mediaType === "text/plain") return;
  warnings.push(
    approximated(`${param}.media_type`, "The target knows text of one kind only; it was sent as plain text."),
  );
}

function writeToolUse(call: ToolCall, param: string, warnings: Warning[]): JsonObject {
  if (call.signature.length > 0) warnings.push(dropped(`${param}.signature`));
  return { type: "tool_use", id: writeCallId(call.id), name: call.name, input: writeInput(call.arguments) };
}

function writeToolResult(result: ToolResult, param: string, warnings: Warning[]): JsonObject {
  const blocks = writeParts(result.parts, `${param}.parts`, "tool_result", warnings);
  return {
    type: "tool_result",
    tool_use_id: writeCallId(result.toolCallId),
    ...(blocks.length === 0 ? {} : { content: shorten(blocks) }),
    ...(result.failed ? { is_error: true } : {}),
  };
}

/**
 * Writes reasoning that the vendor could know as its own. It refuses all other, which is therefore left out: a conversation
 * that began with another vendor's model goes on without that model's thoughts.
 */
function writeOwnReasoning(reasoning: Reasoning, param: string, warnings: Warning[]): JsonObject | undefined {
  if (!isOwnReasoning(reasoning)) {
    warnings.push(dropped(param));
    return undefined;
  }
  if (reasoning.sealed.length > 0) return { type: "redacted_thinking", data: asBuffer(reasoning.sealed).toString() };
  return { type: "thinking", thinking: reasoning.text, signature: asBuffer(reasoning.signature).toString() };
}

/** One text without marks, in the short form. */
export function shorten(blocks: readonly JsonObject[]): unknown {
  const [first] = blocks;
  const isPlain = blocks.length === 1 && first?.["type"] === "text" && Object.keys(first).length === 2;
  return isPlain ? first["text"] : blocks;
}

function misplaced(param: string) {
  return unsupported("A part of this kind cannot stand in a message of this role.", param);
}
