import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type CacheControlSchema,
  type MessageSchema,
  type PartSchema,
  Role,
  type ToolResultSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { readInput } from "../claude/tool-input.ts";
import { invalid, untranslatable } from "../faults.ts";
import { isJsonObject, memberPath, readText, requiredAnyText, requiredList, requiredText } from "../fields.ts";
import { writeJson } from "../json.ts";
import { readCachePoint } from "./cache-point.ts";
import { codePoints, readCitation } from "./citation.ts";
import { readDocument, readMedia } from "./media.ts";
import { readBlob, readExactRecord, readUnion } from "./members.ts";
import { type CallProof, readCallProof, readSignature } from "./reasoning.ts";

type MessageInit = MessageInitShape<typeof MessageSchema>;
type PartContent = NonNullable<MessageInitShape<typeof PartSchema>["content"]>;
type PartInit = { content: PartContent; cacheControl?: MessageInitShape<typeof CacheControlSchema> };
type ToolResultInit = MessageInitShape<typeof ToolResultSchema>;

const messageMembers = new Set(["role", "content"]);
const toolUseMembers = new Set(["toolUseId", "name", "input"]);
const toolResultMembers = new Set(["toolUseId", "content", "status"]);
const reasoningTextMembers = new Set(["text", "signature"]);
const citationsMembers = new Set(["content", "citations"]);
const citationMembers = new Set(["title", "source", "sourceContent", "location"]);

/** Reads `system`: the first message of the conversation. */
export function readSystem(value: unknown): MessageInit[] {
  const parts = readParts(value, "system");
  return parts.length === 0 ? [] : [{ role: Role.SYSTEM, parts }];
}

/** Reads `messages`. Results of tools, which are the user's here, become messages of their own. */
export function readMessages(value: unknown): MessageInit[] {
  return requiredList(value, "messages").flatMap((item, index): MessageInit[] => {
    const param = `messages[${index}]`;
    const message = readExactRecord(item, messageMembers, param);
    const parts = readParts(message["content"], `${param}.content`);
    switch (message["role"]) {
      case "user":
        return splitResults(parts);
      case "assistant":
        return [{ role: Role.ASSISTANT, parts }];
      case "system":
        return [{ role: Role.SYSTEM, parts }];
      default:
        throw invalid("`role` must be `user`, `assistant` or `system`.", `${param}.role`);
    }
  });
}

function splitResults(parts: readonly PartInit[]): MessageInit[] {
  if (parts.length === 0) return [{ role: Role.USER, parts: [] }];
  const messages: { role: Role; parts: PartInit[] }[] = [];
  for (const part of parts) {
    const role = part.content.case === "toolResult" ? Role.TOOL : Role.USER;
    const last = messages.at(-1);
    if (last?.role === role) last.parts.push(part);
    else messages.push({ role, parts: [part] });
  }
  return messages;
}

function readParts(value: unknown, param: string): PartInit[] {
  const parts: PartInit[] = [];
  const proofs: CallProof[] = [];
  for (const [index, block] of requiredList(value, param).entries()) {
    const blockParam = `${param}[${index}]`;
    const [kind, content] = readUnion(block, blockParam);
    const proof = kind === "reasoningContent" ? readProof(content, memberPath(blockParam, kind)) : undefined;
    if (proof !== undefined) proofs.push(proof);
    else if (kind === "cachePoint") {
      const cacheControl = readCachePoint(content, `${blockParam}.cachePoint`);
      const last = parts.at(-1);
      if (last === undefined) throw invalid("A cache point must stand behind what it caches.", blockParam);
      last.cacheControl = cacheControl;
    } else parts.push({ content: readBlock(kind, content, blockParam) });
  }
  for (const { callId, signature } of proofs) {
    for (const { content } of parts) {
      if (content.case === "toolCall" && content.value.id === callId) content.value.signature = signature;
    }
  }
  return parts;
}

/** The proof of a call that Weir itself has put into sealed reasoning. */
function readProof(value: unknown, param: string): CallProof | undefined {
  const [kind, content] = readUnion(value, param);
  return kind === "redactedContent" ? readCallProof(readBlob(content, `${param}.redactedContent`)) : undefined;
}

function readBlock(kind: string, value: unknown, param: string): PartContent {
  const blockParam = memberPath(param, kind);
  switch (kind) {
    case "text":
      return { case: "text", value: { text: requiredAnyText(value, blockParam) } };
    case "image":
    case "video":
    case "audio":
      return readMedia(kind, value, blockParam);
    case "document":
      return readDocument(value, blockParam);
    case "toolUse":
      return readToolUse(value, blockParam);
    case "toolResult":
      return { case: "toolResult", value: readToolResult(value, blockParam) };
    case "reasoningContent":
      return readReasoning(value, blockParam);
    case "citationsContent":
      return readCitations(value, blockParam);
    default:
      // `guardContent`, `searchResult`, `toolAddition`, `toolRemoval` and what is yet to come.
      throw untranslatable("A block of this kind cannot be translated for this model; leave it out.", blockParam);
  }
}

function readToolUse(value: unknown, param: string): PartContent {
  const use = readExactRecord(value, toolUseMembers, param);
  const call = {
    id: requiredText(use["toolUseId"], `${param}.toolUseId`),
    name: requiredText(use["name"], `${param}.name`),
    arguments: readArguments(use["input"]),
  };
  return { case: "toolCall", value: call };
}

function readArguments(input: unknown): string {
  return isJsonObject(input) ? readInput(input) : writeJson(input ?? {});
}

function readToolResult(value: unknown, param: string): ToolResultInit {
  const result = readExactRecord(value, toolResultMembers, param);
  const status = result["status"] ?? "success";
  if (status !== "success" && status !== "error") {
    throw invalid("`status` must be `success` or `error`.", `${param}.status`);
  }
  const content = requiredList(result["content"], `${param}.content`);
  return {
    toolCallId: requiredText(result["toolUseId"], `${param}.toolUseId`),
    parts: content.map((block, index) => ({ content: readResultBlock(block, `${param}.content[${index}]`) })),
    failed: status === "error",
  };
}

function readResultBlock(block: unknown, param: string): PartContent {
  const [kind, value] = readUnion(block, param);
  const blockParam = memberPath(param, kind);
  switch (kind) {
    case "json":
      return { case: "text", value: { text: writeJson(value) } };
    case "text":
    case "image":
    case "document":
    case "video":
      return readBlock(kind, value, param);
    default:
      throw untranslatable("A block of this kind cannot be translated for this model; leave it out.", blockParam);
  }
}

function readReasoning(value: unknown, param: string): PartContent {
  const [kind, content] = readUnion(value, param);
  switch (kind) {
    case "reasoningText": {
      const textParam = `${param}.reasoningText`;
      const reasoning = readExactRecord(content, reasoningTextMembers, textParam);
      const text = requiredAnyText(reasoning["text"], `${textParam}.text`);
      const signature = readText(reasoning["signature"], `${textParam}.signature`) ?? "";
      return { case: "reasoning", value: { text, ...readSignature(signature) } };
    }
    case "redactedContent":
      return { case: "reasoning", value: { sealed: readBlob(content, `${param}.redactedContent`) } };
    default:
      throw untranslatable("Reasoning of this kind cannot be translated for this model.", memberPath(param, kind));
  }
}

function readCitations(value: unknown, param: string): PartContent {
  const block = readExactRecord(value, citationsMembers, param);
  const text = requiredList(block["content"] ?? [], `${param}.content`)
    .map((content, index) => {
      const [kind, piece] = readUnion(content, `${param}.content[${index}]`);
      if (kind !== "text")
        throw untranslatable("Generated content must be text.", memberPath(`${param}.content[${index}]`, kind));
      return requiredAnyText(piece, `${param}.content[${index}].text`);
    })
    .join("");
  const citations = requiredList(block["citations"] ?? [], `${param}.citations`).map((citation, index) => {
    const citationParam = `${param}.citations[${index}]`;
    return readCitation(readExactRecord(citation, citationMembers, citationParam), codePoints(text));
  });
  return { case: "text", value: { text, citations } };
}
