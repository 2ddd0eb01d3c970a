import { type Message, type Part, type Reasoning, Role, type ToolResult } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped } from "../events.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { warnOfCacheControl, writeInputContent, writeOutputPart } from "./content.ts";
import { dialectName } from "./name.ts";
import { writeSealed } from "./sealed.ts";

/** The conversation as this dialect writes it. */
export interface InputWriting {
  readonly instructions?: string;
  readonly input: readonly JsonObject[];
}

/**
 * Writes the conversation. A first system message that is one plain text becomes `instructions`, unless nothing else would
 * be left to send.
 * @param isCustom whether a tool of this name is declared as `custom`
 */
export function writeInput(
  messages: readonly Message[],
  isCustom: (name: string) => boolean,
  warnings: Warning[],
): InputWriting {
  const instructions = messages.length > 1 ? instructionsText(messages[0]) : undefined;
  const customCalls = new Set<string>();
  const input: JsonObject[] = [];
  for (const [index, message] of messages.entries()) {
    const param = `messages[${index}]`;
    if (index === 0 && instructions !== undefined) continue;
    if (message.name !== "") warnings.push(dropped(`${param}.name`, dialectName));
    switch (message.role) {
      case Role.ASSISTANT:
        writeReply(message, param, { isCustom, customCalls, input, warnings });
        break;
      case Role.TOOL:
        writeResults(message, param, { isCustom, customCalls, input, warnings });
        break;
      default:
        input.push({
          role: roleWord(message.role, param),
          content: writeInputContent(message.parts, `${param}.parts`, warnings),
        });
    }
  }
  return { input, ...(instructions === undefined ? {} : { instructions }) };
}

function instructionsText(message: Message | undefined): string | undefined {
  if (message?.role !== Role.SYSTEM || message.parts.length !== 1 || message.name !== "") return undefined;
  const [part] = message.parts;
  if (part?.content.case !== "text" || part.cacheControl !== undefined) return undefined;
  const { text, citations } = part.content.value;
  return text === "" || citations.length > 0 ? undefined : text;
}

function roleWord(role: Role, param: string): string {
  switch (role) {
    case Role.SYSTEM:
      return "system";
    case Role.DEVELOPER:
      return "developer";
    case Role.USER:
      return "user";
    default:
      throw unsupported("The target knows no such speaker.", `${param}.role`);
  }
}

interface Writing {
  readonly isCustom: (name: string) => boolean;
  /** Ids of calls of custom tools so far. */
  readonly customCalls: Set<string>;
  readonly input: JsonObject[];
  readonly warnings: Warning[];
}

/** Writes what the model said: its texts and refusals in a row are one message; calls and reasoning are items of their own. */
function writeReply({ parts }: Message, param: string, writing: Writing): void {
  let said: JsonObject[] = [];
  const flush = () => {
    if (said.length > 0) writing.input.push(writeSaid(said));
    said = [];
  };
  for (const [index, part] of parts.entries()) {
    const partParam = `${param}.parts[${index}]`;
    warnOfCacheControl(part, partParam, writing.warnings);
    const item = writeReplyItem(part, partParam, writing);
    if (item === undefined) {
      said.push(writeOutputPart(part.content, partParam));
      continue;
    }
    flush();
    if (item !== "left out") writing.input.push(item);
  }
  flush();
}

/**
 * One plain text is a message in the easy form. Another message has no id, though the types demand one: a made-up id is
 * looked up and refused, while a message without one is taken (https://github.com/langchain-ai/langchain/pull/38372).
 */
function writeSaid(content: readonly JsonObject[]): JsonObject {
  const [first] = content;
  const annotations = first?.["annotations"];
  const plain = content.length === 1 && Array.isArray(annotations) && annotations.length === 0;
  return plain ? { role: "assistant", content: first?.["text"] } : { type: "message", role: "assistant", content };
}

/** Undefined for what belongs into a message. */
function writeReplyItem({ content }: Part, param: string, writing: Writing): JsonObject | "left out" | undefined {
  switch (content.case) {
    case "toolCall": {
      const { id, name, arguments: text, signature } = content.value;
      if (signature.length > 0) writing.warnings.push(dropped(`${param}.tool_call.signature`, dialectName));
      if (!writing.isCustom(name)) return { type: "function_call", call_id: id, name, arguments: text };
      writing.customCalls.add(id);
      return { type: "custom_tool_call", call_id: id, name, input: text };
    }
    case "reasoning":
      return writeReasoning(content.value, param, writing.warnings);
    default:
      return undefined;
  }
}

/**
 * Reasoning without an item's id, or with a signature, is another vendor's, which this one would refuse. OpenAI seals its
 * reasoning and takes the readable part as a summary only; vendors that do not seal it want the text itself back.
 */
function writeReasoning(reasoning: Reasoning, param: string, warnings: Warning[]): JsonObject | "left out" {
  const { id, text, signature, sealed } = reasoning;
  if (id === "" || signature.length > 0) {
    warnings.push(dropped(`${param}.reasoning`, dialectName));
    return "left out";
  }
  if (sealed.length === 0) {
    return {
      type: "reasoning",
      id,
      summary: [],
      ...(text === "" ? {} : { content: [{ type: "reasoning_text", text }] }),
    };
  }
  return {
    type: "reasoning",
    id,
    summary: text === "" ? [] : [{ type: "summary_text", text }],
    encrypted_content: writeSealed({ signature, sealed, callId: "" }),
  };
}

function writeResults({ parts }: Message, param: string, writing: Writing): void {
  for (const [index, part] of parts.entries()) {
    const partParam = `${param}.parts[${index}]`;
    if (part.content.case !== "toolResult") {
      throw unsupported("A tool's message may hold results only.", partParam);
    }
    warnOfCacheControl(part, partParam, writing.warnings);
    writing.input.push(writeResult(part.content.value, `${partParam}.tool_result`, writing));
  }
}

function writeResult({ toolCallId, parts, failed }: ToolResult, param: string, writing: Writing): JsonObject {
  if (failed) writing.warnings.push(dropped(`${param}.failed`, dialectName));
  if (parts.some((part) => part.content.case === "audio")) {
    throw unsupported("The target takes no sound from a tool.", param);
  }
  return {
    type: writing.customCalls.has(toolCallId) ? "custom_tool_call_output" : "function_call_output",
    call_id: toolCallId,
    output: parts.length === 0 ? "" : writeInputContent(parts, `${param}.parts`, writing.warnings),
  };
}
