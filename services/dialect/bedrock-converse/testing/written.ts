import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type PartSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type JsonObject, parseExact, writeJson } from "../../json.ts";
import { writeRequest } from "../request-writer.ts";

// How tests write requests for Bedrock.

export type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
export type PartInit = MessageInitShape<typeof PartSchema>;
export type Content = NonNullable<PartInit["content"]>;

export const claude = "us.anthropic.claude-sonnet-4-6";
export const newest = "anthropic.claude-opus-4-8-v1";
export const oldest = "anthropic.claude-3-7-sonnet-20250219-v1:0";
export const nova = "us.amazon.nova-pro-v1:0";
export const llama = "meta.llama3-3-70b-instruct-v1:0";
export const profile = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc";

interface Written {
  readonly body: JsonObject;
  readonly warnings: readonly string[];
}

export function write(init: RequestInit, model = claude): Written {
  const options = { model, stream: false, maxOutputTokensDefault: 4_096 };
  const { body, warnings } = writeRequest(create(GenerateRequestSchema, init), options);
  return { body: parseExact(writeJson(body)) ?? {}, warnings: warnings.map(({ code, param }) => `${code} ${param}`) };
}

export function refused(init: RequestInit, model = claude): string | undefined {
  try {
    write(init, model);
  } catch (error) {
    if (error instanceof WeirError && error.reason === ErrorReason.TARGET_UNSUPPORTED) return error.metadata["param"];
    throw error;
  }
  return undefined;
}

export const add = { kind: { case: "function" as const, value: { name: "add" } } };

export function user(...contents: Content[]): RequestInit {
  return { messages: [{ role: Role.USER, parts: contents.map((content) => ({ content })) }] };
}

export function contentOf({ body }: Written, index = 0): unknown {
  return (body["messages"] as JsonObject[])[index]?.["content"];
}
/** Every field of a message has a rule, so that a new one cannot be forgotten. */
export function names(schema: DescMessage): string[] {
  return schema.fields.map(({ name }) => name).toSorted();
}
