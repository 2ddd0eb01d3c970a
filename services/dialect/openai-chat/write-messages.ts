import { type Message, type Part, Role, type ToolCall } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { opaqueText } from "./opaque.ts";
import { type ReasoningPiece, writeReasoningDetails } from "./reasoning-details.ts";
import { contentOf, mark, omit, type PartTarget, writeMediaPart, writeText, writeTextPart } from "./write-parts.ts";

/** What the writer of messages needs. */
export interface MessageTarget extends PartTarget {
  /** Names of tools without a schema, whose calls are written as `custom`. */
  readonly customTools: ReadonlySet<string>;
}

/** Writes messages; a message of several tool results becomes one for each. */
export function writeMessages(messages: readonly Message[], target: MessageTarget): JsonObject[] {
  return messages.flatMap((message, index) => writeMessage(message, `messages[${index}]`, target));
}

function writeMessage(message: Message, param: string, target: MessageTarget): JsonObject[] {
  const name = target.traits.names && message.name !== "" ? { name: message.name } : {};
  if (!target.traits.names) target.omissions.drop(`${param}.name`, message.name !== "");
  const developerRole = target.traits.developerRole ? "developer" : "system";
  switch (message.role) {
    case Role.SYSTEM:
      return [{ role: "system", content: writeInstructions(message, param, target), ...name }];
    case Role.DEVELOPER:
      return [{ role: developerRole, content: writeInstructions(message, param, target), ...name }];
    case Role.USER: {
      const parts = message.parts.map((part, index) => writeMediaPart(part, `${param}.parts[${index}]`, target));
      return [{ role: "user", content: contentOf(parts), ...name }];
    }
    case Role.ASSISTANT:
      return [{ role: "assistant", ...writeAssistant(message.parts, param, target), ...name }];
    case Role.TOOL:
      if (message.name !== "") target.omissions.drop(`${param}.name`);
      return message.parts.map((part, index) => writeToolResult(part, `${param}.parts[${index}]`, target));
    default:
      throw invalid("A message must have a role.", `${param}.role`);
  }
}

function writeInstructions({ parts }: Message, param: string, target: MessageTarget) {
  const place = "A system or developer message";
  return contentOf(parts.map((part, index) => writeTextPart(part, `${param}.parts[${index}]`, place, target)));
}

/** Text and refusals keep their order; reasoning, sound and calls have members of their own. */
function writeAssistant(parts: readonly Part[], param: string, target: MessageTarget): JsonObject {
  const content: JsonObject[] = [];
  const calls: JsonObject[] = [];
  const reasoning: ReasoningPiece[] = [];
  let audio: JsonObject | undefined;
  for (const [index, part] of parts.entries()) {
    const path = `${param}.parts[${index}]`;
    switch (part.content.case) {
      case "text":
        content.push({ ...writeText(part.content.value, path, target), ...mark(part, path, target) });
        continue;
      case "refusal":
        if (part.content.value.citations.length > 0) target.omissions.drop(`${path}.refusal.citations`);
        content.push({ type: "refusal", refusal: part.content.value.text });
        break;
      case "toolCall":
        calls.push(writeToolCall(part.content.value, `${path}.tool_call`, target));
        break;
      case "reasoning":
        reasoning.push(part.content.value);
        noteReasoning(part.content.value, `${path}.reasoning`, target);
        break;
      case "audio":
        if (audio !== undefined || part.content.value.source.case !== "fileId") {
          throw unsupported("This target takes the model's own sound back by its id, once a message.", `${path}.audio`);
        }
        omit(["mediaType", "filename", "detail"], part.content.value, `${path}.audio`, target);
        audio = { id: part.content.value.source.value };
        break;
      default:
        throw unsupported(
          "The model's messages to this target hold text, refusals, reasoning, sound and calls only.",
          path,
        );
    }
    if (part.cacheControl) target.omissions.drop(`${path}.cache_control`);
  }
  const silent = content.length === 0 && (calls.length > 0 || audio !== undefined);
  return {
    content: silent ? null : contentOf(content),
    ...writeReasoning(reasoning, target),
    ...(audio && { audio }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

/** Notes what of the reasoning the target has no member for. */
function noteReasoning(reasoning: ReasoningPiece, param: string, { traits, omissions }: MessageTarget): void {
  if (traits.reasoning === "reasoning_details") return;
  if (traits.reasoning === "none") omissions.drop(param);
  else {
    if (reasoning.signature.length > 0) omissions.drop(`${param}.signature`);
    if (reasoning.sealed.length > 0) omissions.drop(`${param}.sealed`);
    if (reasoning.id !== "") omissions.drop(`${param}.id`);
  }
}

function writeReasoning(reasoning: readonly ReasoningPiece[], { traits }: MessageTarget): JsonObject {
  if (traits.reasoning === "none" || reasoning.length === 0) return {};
  if (traits.reasoning === "reasoning_details") return { reasoning_details: reasoning.flatMap(writeReasoningDetails) };
  const text = reasoning.map((piece) => piece.text).join("");
  return text === "" ? {} : { [traits.reasoning]: text };
}

function writeToolCall(call: ToolCall, param: string, target: MessageTarget): JsonObject {
  const { id, name } = call;
  const signature = writeSignature(call.signature, target);
  if (call.signature.length > 0 && signature === undefined) target.omissions.drop(`${param}.signature`);
  if (target.customTools.has(name))
    return { id, type: "custom", custom: { name, input: call.arguments }, ...signature };
  return { id, type: "function", function: { name, arguments: call.arguments }, ...signature };
}

function writeSignature(signature: Uint8Array, { traits }: MessageTarget): JsonObject | undefined {
  return signature.length > 0 && traits.callSignatures ? signatureMember(signature) : undefined;
}

/** The member that holds Gemini's thought signature: https://ai.google.dev/gemini-api/docs/thought-signatures. */
export function signatureMember(signature: Uint8Array): JsonObject {
  return { extra_content: { google: { thought_signature: opaqueText(signature) } } };
}

function writeToolResult(part: Part, param: string, target: MessageTarget): JsonObject {
  if (part.content.case !== "toolResult") throw unsupported("A tool's message holds results only.", param);
  const { toolCallId, parts, failed } = part.content.value;
  if (failed) target.omissions.drop(`${param}.tool_result.failed`);
  const place = "A tool's result";
  const content = parts.map((inner, index) => {
    const last = index === parts.length - 1 && part.cacheControl !== undefined && inner.cacheControl === undefined;
    const marked = last ? { ...inner, cacheControl: part.cacheControl } : inner;
    return writeTextPart(marked, `${param}.tool_result.parts[${index}]`, place, target);
  });
  if (part.cacheControl && parts.length === 0) target.omissions.drop(`${param}.cache_control`);
  return { role: "tool", tool_call_id: toolCallId, content: contentOf(content) };
}
