import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { validateRequest } from "@weir/kit/validation";
import { WeirError } from "@weir/kit/weir-error";
import type { Envelope, RequestOptions, RequestWriting } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";

export const dialectName = "weir-chat";

const modelLengthMax = 512;
const userLengthMax = 256;
const outputTokensMax = 10_000_000;
const choicesMax = 128;

/** Both spellings of a name are read, as proto JSON has it. */
function member(body: JsonObject, camel: string, snake: string): unknown {
  return body[camel] ?? body[snake];
}

/** Reads what limits and routing need. */
export function readEnvelope(body: JsonObject): Envelope {
  const { model, stream, user, messages } = body;
  if (typeof model !== "string" || model === "") throw invalid("`model` must name the model to call.", "model");
  if (model.length > modelLengthMax) throw invalid(`\`model\` is longer than ${modelLengthMax} characters.`, "model");
  if (!Array.isArray(messages) || messages.length === 0) {
    throw invalid("`messages` must be a list of at least one message.", "messages");
  }
  if (stream != null && typeof stream !== "boolean") throw invalid("`stream` must be true or false.", "stream");
  if (user != null && (typeof user !== "string" || user.length > userLengthMax)) {
    throw invalid(`\`user\` must be a text of at most ${userLengthMax} characters.`, "user");
  }
  const choiceCount = count(member(body, "choiceCount", "choice_count"), "choice_count", choicesMax) ?? 1;
  const limit = count(member(body, "maxOutputTokens", "max_output_tokens"), "max_output_tokens", outputTokensMax);
  return {
    model,
    stream: stream ?? false,
    includeUsage: true,
    choiceCount,
    ...(limit === undefined ? {} : { maxOutputTokens: limit * choiceCount }),
    ...(typeof user === "string" && user !== "" ? { user } : {}),
  };
}

/** Reads a request: proto JSON of GenerateRequest, and `stream` beside its fields. Unknown fields are refused. */
export function readRequest(body: JsonObject): GenerateRequest {
  const { stream: _, ...fields } = body;
  if ("wire" in fields) throw invalid("`wire` is the mesh's own; send `messages`.", "wire");
  let request: GenerateRequest;
  try {
    request = fromJson(GenerateRequestSchema, fields as JsonValue);
  } catch (error) {
    const param = fieldAtFault(error);
    throw invalid(
      `The body is not proto JSON of weir.chat.v1.GenerateRequest: \`${param}\` is unknown or of another type.`,
      param,
    );
  }
  validateRequest(GenerateRequestSchema, request);
  return request;
}

/** Writes a request; this dialect can say all of it. No provider speaks it. */
export function writeRequest(request: GenerateRequest, { model, stream }: RequestOptions): RequestWriting {
  const json = toJson(GenerateRequestSchema, request);
  return { body: { ...(isObject(json) ? json : {}), model, stream }, warnings: [] };
}

function count(value: unknown, param: string, max: number): number | undefined {
  if (value == null) return undefined;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max) return value as number;
  throw invalid(`\`${param}\` must be a whole number from 1 to ${max}.`, param);
}

/** The name of the field that protobuf-es could not read; its text may quote the value, so nothing else is taken of it. */
function fieldAtFault(error: unknown): string {
  const text = error instanceof Error ? error.message : "";
  const match = /^cannot decode field [\w.]+\.(\w+) from JSON/.exec(text) ?? /: key "(\w{1,64})" is unknown/.exec(text);
  return match?.[1] ?? "body";
}

function invalid(text: string, param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param } });
}
