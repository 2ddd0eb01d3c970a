import type { Media, Part, Reasoning, ToolCall, ToolResult } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { writeBase64 } from "../base64.ts";
import { writeInput } from "../claude/tool-input.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { writeCachePoint } from "./cache-point.ts";
import { writeText } from "./citation.ts";
import type { DocumentNames } from "./document-names.ts";
import { writeFile, writeMedia } from "./media.ts";
import type { Model } from "./model.ts";
import { isOwnReasoning, writeSignature } from "./reasoning.ts";
import { toolId } from "./tool-id.ts";
import { dropped } from "./warnings.ts";

/** What the parts of one request are written with. */
export interface Scope {
  readonly model: Model;
  readonly names: DocumentNames;
  /** Gets what was left out. */
  readonly warnings: Warning[];
}

/** The blocks of one part, which stay together: its content, and the cache point behind it. */
export type Blocks = readonly JsonObject[];

/** Writes parts; those that have nothing to say here are left out. @param param the path of the message */
export function writeParts(parts: readonly Part[], param: string, scope: Scope): Blocks[] {
  return parts.flatMap((part, index) => {
    const partParam = `${param}.parts[${index}]`;
    const block = writePart(part, partParam, scope);
    const { cacheControl } = part;
    if (block === undefined) {
      if (cacheControl !== undefined) scope.warnings.push(dropped(`${partParam}.cache_control`));
      return [];
    }
    if (cacheControl === undefined) return [[block]];
    return [[block, writeCachePoint(cacheControl, `${partParam}.cache_control`, scope.warnings)]];
  });
}

function writePart({ content }: Part, param: string, scope: Scope): JsonObject | undefined {
  switch (content.case) {
    case "text":
    case "refusal":
      // Bedrock refuses blocks of text without a character.
      return content.value.text === "" ? undefined : writeText(content.value);
    case "image":
    case "audio":
    case "file":
      return writeMediaPart(content.case, content.value, `${param}.${content.case}`, scope);
    case "toolCall":
      return writeToolCall(content.value, `${param}.tool_call`, scope);
    case "toolResult":
      return writeToolResult(content.value, `${param}.tool_result`, scope);
    case "reasoning":
      return writeReasoning(content.value, `${param}.reasoning`, scope);
    case undefined:
      throw unsupported("The part has no content.", param);
  }
}

function writeMediaPart(kind: "image" | "audio" | "file", media: Media, param: string, scope: Scope): JsonObject {
  const block = kind === "file" ? writeFile(media, scope.names, param) : writeMedia(kind, media, param);
  if (media.detail !== "") scope.warnings.push(dropped(`${param}.detail`));
  // Only documents have a name.
  if (media.filename !== "" && !("document" in block)) {
    scope.warnings.push(dropped(`${param}.filename`));
  }
  return block;
}

function writeToolCall(call: ToolCall, param: string, { warnings }: Scope): JsonObject {
  if (call.signature.length > 0) warnings.push(dropped(`${param}.signature`));
  return { toolUse: { toolUseId: toolId(call.id), name: call.name, input: writeInput(call.arguments) } };
}

function writeToolResult(result: ToolResult, param: string, scope: Scope): JsonObject {
  const content = result.parts.map((part, index) => writeResultPart(part, `${param}.parts[${index}]`, scope));
  // Not every model knows `status`; success is its default.
  const status = result.failed ? { status: "error" } : {};
  return { toolResult: { toolUseId: toolId(result.toolCallId), content, ...status } };
}

function writeResultPart(part: Part, param: string, scope: Scope): JsonObject {
  const { content, cacheControl } = part;
  if (cacheControl !== undefined) scope.warnings.push(dropped(`${param}.cache_control`));
  switch (content.case) {
    case "text":
    case "refusal":
      return { text: content.value.text };
    case "image":
    case "file":
      return writeMediaPart(content.case, content.value, `${param}.${content.case}`, scope);
    case "audio":
    case "toolCall":
    case "toolResult":
    case "reasoning":
    case undefined:
      throw unsupported("Bedrock takes texts, images, documents and videos as a tool's result.", param);
  }
}

/**
 * Writes reasoning that the model could have made. Another vendor's proves nothing here and would be refused, as Anthropic's
 * models refuse what is not signed.
 */
function writeReasoning(reasoning: Reasoning, param: string, { model, warnings }: Scope): JsonObject | undefined {
  const { text, signature, sealed } = reasoning;
  const signed = signature.length > 0 || sealed.length > 0;
  if (!isOwnReasoning(reasoning) || (!signed && model.family === "anthropic")) {
    warnings.push(dropped(param));
    return undefined;
  }
  if (sealed.length > 0) return { reasoningContent: { redactedContent: writeBase64(sealed) } };
  const proof = signed ? { signature: writeSignature(reasoning) } : {};
  return { reasoningContent: { reasoningText: { text, ...proof } } };
}
