import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Part } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Capabilities } from "@weir/kit/config/capabilities";
import { WeirError } from "@weir/kit/weir-error";

/** How much longer than the context a guess must be before it is believed. */
const clearlyAbove = 2;
const bytesPerToken = 4;

/**
 * Refuses what a model is known not to take. Pure.
 * @throws WeirError TARGET_UNSUPPORTED with `param`, a path of the canonical request; CONTEXT_TOO_LONG
 */
export function requireCapabilities(request: GenerateRequest, capabilities: Capabilities): void {
  const { tools, images, audio, files, jsonSchema, reasoning, contextTokens } = capabilities;
  if (tools === false && request.tools.length > 0) throw lacks("tools", "calls no tools");
  if (jsonSchema === false && request.outputFormat?.kind.case === "jsonSchema") {
    throw lacks("output_format.json_schema", "follows no JSON schema");
  }
  if (reasoning === false) refuseReasoning(request);
  if (images === false) refusePart(request, "image", "takes no pictures");
  if (audio === false) refusePart(request, "audio", "takes no sound");
  if (files === false) refusePart(request, "file", "takes no files");
  if (contextTokens !== undefined && textLength(request) > lengthMax(contextTokens)) {
    throw new WeirError(ErrorReason.CONTEXT_TOO_LONG, { metadata: { context_tokens: String(contextTokens) } });
  }
}

/** @throws WeirError TARGET_UNSUPPORTED */
export function requireStreaming(stream: boolean, { streaming }: Capabilities): void {
  if (stream && streaming === false) throw lacks("stream", "does not stream");
}

/** Whether a body of this length must be read to know that a model can take it. */
export function mustRead(capabilities: Capabilities, bodyBytes: number): boolean {
  const { tools, images, audio, files, jsonSchema, reasoning, contextTokens } = capabilities;
  if ([tools, images, audio, files, jsonSchema, reasoning].includes(false)) return true;
  return contextTokens !== undefined && bodyBytes > lengthMax(contextTokens);
}

function lengthMax(contextTokens: number): number {
  return clearlyAbove * bytesPerToken * contextTokens;
}

function lacks(param: string, what: string): WeirError {
  return new WeirError(ErrorReason.TARGET_UNSUPPORTED, {
    text: `The target's model ${what}.`,
    metadata: { param },
  });
}

function refuseReasoning({ reasoning }: GenerateRequest): void {
  if (reasoning === undefined) return;
  if (reasoning.effort !== "" && reasoning.effort !== "none") throw lacks("reasoning.effort", "does not reason");
  if (reasoning.budgetTokens) throw lacks("reasoning.budget_tokens", "does not reason");
}

function refusePart({ messages }: GenerateRequest, kind: "image" | "audio" | "file", what: string): void {
  for (const [index, { parts }] of messages.entries()) {
    const path = pathOfPart(parts, kind);
    if (path !== undefined) throw lacks(`messages[${index}].${path}`, what);
  }
}

/** Where the first part of a kind stands, results of tools included. */
function pathOfPart(parts: readonly Part[], kind: "image" | "audio" | "file"): string | undefined {
  for (const [index, { content }] of parts.entries()) {
    if (content.case === kind) return `parts[${index}]`;
    const inner = content.case === "toolResult" ? pathOfPart(content.value.parts, kind) : undefined;
    if (inner !== undefined) return `parts[${index}].tool_result.${inner}`;
  }
  return undefined;
}

/** The text that the model reads, in UTF-16 units, which are never more than its bytes. Media and reasoning are not counted. */
function textLength({ messages, tools }: GenerateRequest): number {
  let length = 0;
  for (const { parts } of messages) length += partsLength(parts);
  for (const { kind } of tools) {
    if (kind.case === "function") length += kind.value.description.length + kind.value.parametersSchema.length;
  }
  return length;
}

function partsLength(parts: readonly Part[]): number {
  let length = 0;
  for (const { content } of parts) {
    if (content.case === "text" || content.case === "refusal") length += content.value.text.length;
    else if (content.case === "toolCall") length += content.value.arguments.length;
    else if (content.case === "toolResult") length += partsLength(content.value.parts);
  }
  return length;
}
