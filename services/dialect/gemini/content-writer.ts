import {
  type Media,
  type Message,
  type Part,
  type Reasoning,
  Role,
  type ToolCall,
  type ToolResult,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { unsupported } from "../faults.ts";
import { type JsonObject, parseExact, parseObject, rawJson } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { writeMedia } from "./media.ts";
import { createPartList, type PartList } from "./part-list.ts";
import { ownText, skipSignature } from "./signature.ts";
import { writeResponse } from "./tool-result.ts";
import type { ModelTraits } from "./traits.ts";

/** A conversation in this dialect. */
export interface Conversation {
  /** Absent when nothing is to be said. */
  readonly systemInstruction?: JsonObject;
  readonly contents: readonly JsonObject[];
}

/** What one conversation is written with. */
interface Scope {
  readonly traits: ModelTraits;
  readonly omissions: Omissions;
  /** The name of each call so far, by its id. */
  readonly calls: Map<string, string>;
}

/** Writes a conversation. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeConversation(
  messages: readonly Message[],
  traits: ModelTraits,
  omissions: Omissions,
): Conversation {
  const scope: Scope = { traits, omissions, calls: new Map() };
  const instructions: JsonObject[] = [];
  const contents: JsonObject[] = [];
  let results: JsonObject[] | undefined; // of the messages that end here, all of them of tools
  for (const [index, { role, parts, name }] of messages.entries()) {
    const param = `messages[${index}]`;
    if (name !== "") omissions.drop(`${param}.name`);
    for (const [at, { cacheControl }] of parts.entries()) {
      if (cacheControl !== undefined) omissions.drop(`${param}.parts[${at}].cache_control`);
    }
    if (role === Role.SYSTEM || role === Role.DEVELOPER) {
      if (contents.length > 0) {
        omissions.approximate(param, "Gemini takes instructions at the beginning only; this one was moved there.");
      }
      instructions.push(...parts.map((part, at) => writeInstruction(part, `${param}.parts[${at}]`)));
      continue;
    }
    const written = writeParts(role, parts, param, scope);
    if (written.length === 0) continue; // Gemini refuses contents without parts
    if (role === Role.TOOL && results !== undefined) {
      results.push(...written); // the results of one turn's calls must stand in one content
      continue;
    }
    results = role === Role.TOOL ? written : undefined;
    contents.push({ role: role === Role.ASSISTANT ? "model" : "user", parts: written });
  }
  if (contents.length === 0) throw unsupported("Gemini needs a message of the user's or the model's.", "messages");
  return { ...(instructions.length === 0 ? {} : { systemInstruction: { parts: instructions } }), contents };
}

function writeInstruction({ content }: Part, param: string): JsonObject {
  if (content.case !== "text") throw unsupported("Gemini takes only text as instructions.", param);
  return { text: content.value.text };
}

function writeParts(role: Role, parts: readonly Part[], param: string, scope: Scope): JsonObject[] {
  const paths = (index: number) => `${param}.parts[${index}]`;
  switch (role) {
    case Role.USER:
      return parts.map((part, index) => writeUserPart(part, paths(index), scope));
    case Role.TOOL:
      return parts.map((part, index) => writeResultPart(part, paths(index), scope));
    case Role.ASSISTANT:
      return writeModelParts(parts, paths, scope);
    default:
      throw unsupported("The message has no role that Gemini knows.", `${param}.role`);
  }
}

function writeUserPart({ content }: Part, param: string, scope: Scope): JsonObject {
  switch (content.case) {
    case "text":
      return { text: content.value.text };
    case "image":
    case "audio":
    case "file":
      return writeMediaPart(content.value, `${param}.${content.case}`, scope);
    default:
      throw unsupported("Users send Gemini text and media only.", param);
  }
}

function writeMediaPart(media: Media, param: string, { traits, omissions }: Scope): JsonObject {
  const part = writeMedia(media, param);
  if (media.detail === "" || media.detail === "auto") return part;
  if (!traits.isModern || !resolutions.has(media.detail)) {
    omissions.drop(`${param}.detail`);
    return part;
  }
  return { ...part, mediaResolution: { level: `MEDIA_RESOLUTION_${media.detail.toUpperCase()}` } };
}

// https://ai.google.dev/gemini-api/docs/media-resolution
const resolutions: ReadonlySet<string> = new Set(["low", "medium", "high", "ultra_high"]);

function writeResultPart({ content }: Part, param: string, scope: Scope): JsonObject {
  if (content.case !== "toolResult") throw unsupported("Messages of a tool hold results only.", param);
  const { toolCallId, parts, failed }: ToolResult = content.value;
  const name = scope.calls.get(toolCallId);
  if (name === undefined) {
    throw unsupported("The result belongs to no call before it.", `${param}.tool_result.tool_call_id`);
  }
  const texts: string[] = [];
  const media: JsonObject[] = [];
  for (const [index, { content: inner, cacheControl }] of parts.entries()) {
    const path = `${param}.tool_result.parts[${index}]`;
    if (cacheControl !== undefined) scope.omissions.drop(`${path}.cache_control`);
    if (inner.case === "text") texts.push(inner.value.text);
    else if (inner.case === "image" || inner.case === "audio" || inner.case === "file") {
      if (!scope.traits.isModern) throw unsupported("This model takes only text as the result of a tool.", path);
      if (inner.value.detail !== "") scope.omissions.drop(`${path}.${inner.case}.detail`);
      media.push(writeMedia(inner.value, `${path}.${inner.case}`));
    } else throw unsupported("Gemini takes only text and media as the result of a tool.", path);
  }
  const text = texts.length === 0 ? undefined : texts.join("\n");
  return {
    functionResponse: {
      id: toolCallId,
      name,
      response: writeResponse({ text, failed }),
      ...(media.length === 0 ? {} : { parts: media }),
    },
  };
}

function writeModelParts(parts: readonly Part[], paths: (index: number) => string, scope: Scope): JsonObject[] {
  const list = createPartList();
  for (const [index, { content }] of parts.entries()) {
    const param = paths(index);
    switch (content.case) {
      case "text":
        if (content.value.citations.length > 0) scope.omissions.drop(`${param}.text.citations`);
        list.add({ text: content.value.text }, content.value.text !== "");
        break;
      case "refusal":
        scope.omissions.approximate(`${param}.refusal`, "Gemini knows no refusals; it went as text.");
        list.add({ text: content.value.text });
        break;
      case "image":
      case "audio":
      case "file":
        list.add(writeMediaPart(content.value, `${param}.${content.case}`, scope), true);
        break;
      case "toolCall":
        scope.calls.set(content.value.id, content.value.name);
        list.add(writeCall(content.value, `${param}.tool_call`, scope));
        break;
      case "reasoning":
        addReasoning(content.value, `${param}.reasoning`, list, scope.omissions);
        break;
      default:
        throw unsupported("The model's part is of a kind that Gemini does not know.", param);
    }
  }
  return scope.traits.isModern ? withSkipSignature(list.parts) : [...list.parts];
}

function writeCall(call: ToolCall, param: string, { omissions }: Scope): JsonObject {
  if (call.arguments !== "" && parseObject(call.arguments) === undefined) {
    throw unsupported("Gemini takes only calls whose arguments are a JSON object.", `${param}.arguments`);
  }
  const thoughtSignature = ownText(call.signature);
  if (thoughtSignature === undefined && call.signature.length > 0) omissions.drop(`${param}.signature`);
  return {
    functionCall: { id: call.id, name: call.name, args: call.arguments === "" ? {} : rawJson(call.arguments) },
    ...(thoughtSignature === undefined ? {} : { thoughtSignature }),
  };
}

/**
 * Writes reasoning; a signature alone is that of the text or medium before it. What another vendor sealed or signed is left
 * out.
 */
function addReasoning(reasoning: Reasoning, param: string, list: PartList, omissions: Omissions): void {
  const { text, id } = reasoning;
  const thoughtSignature = ownText(reasoning.signature);
  if (thoughtSignature === undefined && reasoning.signature.length > 0) omissions.drop(`${param}.signature`);
  if (id !== "") omissions.drop(`${param}.id`);
  const sealed = parseExact(ownText(reasoning.sealed) ?? "");
  if (sealed !== undefined) list.add(sealed);
  else if (reasoning.sealed.length > 0) omissions.drop(`${param}.sealed`);
  if (text !== "") list.add({ text, thought: true, ...(thoughtSignature === undefined ? {} : { thoughtSignature }) });
  else if (thoughtSignature !== undefined) list.sign(thoughtSignature);
}

/** Models that look for the signature of a turn's first call are told not to when none of its calls has one. */
function withSkipSignature(parts: readonly JsonObject[]): JsonObject[] {
  const calls = parts.filter((part) => part["functionCall"] !== undefined);
  const [first] = calls;
  if (calls.some((part) => part["thoughtSignature"] !== undefined)) return [...parts];
  return parts.map((part) => (part === first ? { ...part, thoughtSignature: skipSignature } : part));
}
