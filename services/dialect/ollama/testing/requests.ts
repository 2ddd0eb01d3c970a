import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type MessageSchema, type PartSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type JsonObject, parseExact, writeJson } from "../../json.ts";
import { ollama } from "../codec.ts";

// How tests read and write requests of Ollama's clients.

export const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

export const options = { model: "m", stream: true, maxOutputTokensDefault: 4096 };

export type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
export type MessageInit = MessageInitShape<typeof MessageSchema>;
export type PartInit = MessageInitShape<typeof PartSchema>;

export const png = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");

export const text = (value: string): PartInit => ({ content: { case: "text", value: { text: value } } });
export const user = (...parts: PartInit[]): MessageInit => ({ role: Role.USER, parts });
export const hi = { model: "m", messages: [user(text("hi"))] };

export function write(request: RequestInit) {
  const { body, warnings } = ollama.writeRequest(create(GenerateRequestSchema, request), options);
  return { json: writeJson(body), warned: warnings.map(({ param }) => param) };
}

export function body(request: RequestInit): JsonObject {
  return JSON.parse(write(request).json) as JsonObject;
}

export function read(json: string | JsonObject): GenerateRequest {
  const parsed = parseExact(typeof json === "string" ? json : JSON.stringify(json));
  if (parsed === undefined) throw new Error("is no JSON object");
  return ollama.readRequest(parsed);
}

export function messagesOf(request: GenerateRequest) {
  return (toJson(GenerateRequestSchema, request) as { messages: unknown }).messages;
}

/** What was thrown: the reason and the `param`. */
export function refusal(act: () => unknown): readonly [ErrorReason, string | undefined] {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError) return [error.reason, error.metadata["param"]];
    throw error;
  }
  throw new Error("was accepted");
}
