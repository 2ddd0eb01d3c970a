import { create, type JsonObject as Struct, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type MessageSchema,
  type OutputFormatSchema,
  Role,
  type SamplingOptionsSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { unknownWord, untranslatable } from "../faults.ts";
import {
  readList,
  readNumber,
  readObject,
  readText,
  readWhole,
  refuseUnknown,
  required,
  requiredObject,
} from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { holdJson } from "../struct.ts";
import { type PartInit, readContent } from "./content-reader.ts";
import { readEnvelope } from "./envelope.ts";
import { dialectName } from "./name.ts";
import { readThinkingOptions } from "./thinking-reader.ts";
import { readToolChoice, readTools } from "./tools-reader.ts";

type MessageInit = MessageInitShape<typeof MessageSchema>;
type Format = MessageInitShape<typeof OutputFormatSchema>;

/** Members of a body that fields of the canonical form hold whole. Of all others what is left over becomes an extension. */
const heldMembers: ReadonlySet<string> = new Set([
  "model",
  "stream",
  "messages",
  "system",
  "max_tokens",
  "tools",
  "tool_choice",
  "stop_sequences",
  "service_tier",
  "temperature",
  "top_p",
  "top_k",
  "output_format",
]);

/** Members of which a part is held. */
const partlyHeld = ["metadata", "thinking", "output_config"] as const;

/** See {@link Codec.readRequest}. */
export function readRequest(body: JsonObject): GenerateRequest {
  const { model, user, maxOutputTokens } = readEnvelope(body);
  if (maxOutputTokens === 0) {
    throw untranslatable(
      "`max_tokens` of 0 fills the prompt cache of one provider and cannot be translated.",
      "max_tokens",
    );
  }
  const { user_id: _, ...metadata } = readObject(body["metadata"], "metadata") ?? {};
  const { format, ...outputConfig } = readObject(body["output_config"], "output_config") ?? {};
  const thinking = readThinkingOptions(readObject(body["thinking"], "thinking"), outputConfig);
  const outputFormat =
    readOutputFormat(format, "output_config.format") ?? readOutputFormat(body["output_format"], "output_format");
  const sampling = readSampling(body);
  const extension = readExtension(body, {
    metadata,
    thinking: thinking.thinking,
    output_config: thinking.outputConfig,
  });
  return create(GenerateRequestSchema, {
    model,
    messages: [...readSystem(body["system"]), ...readMessages(body["messages"])],
    tools: readTools(body["tools"]),
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...readToolChoice(body["tool_choice"]),
    ...(outputFormat === undefined ? {} : { outputFormat }),
    ...(thinking.reasoning === undefined ? {} : { reasoning: thinking.reasoning }),
    ...(sampling === undefined ? {} : { sampling }),
    stopSequences: (readList(body["stop_sequences"], "stop_sequences") ?? []).map((item, index) =>
      required(readText(item, `stop_sequences[${index}]`), `stop_sequences[${index}]`),
    ),
    serviceTier: readText(body["service_tier"], "service_tier") ?? "",
    ...(user === undefined ? {} : { user }),
    ...(extension === undefined ? {} : { extensions: { [dialectName]: extension } }),
  });
}

function readSystem(value: unknown): MessageInit[] {
  const parts = readContent(value, "system", "system");
  return parts.length === 0 ? [] : [{ role: Role.SYSTEM, parts }];
}

const messageMembers: ReadonlySet<string> = new Set(["role", "content"]);

/** Reads messages whose shape and roles are checked. Results of tools become messages of their own. */
function readMessages(value: unknown): MessageInit[] {
  return (value as readonly JsonObject[]).flatMap((message, index) => {
    const param = `messages[${index}]`;
    refuseUnknown(message, messageMembers, param);
    const content = required(message["content"] ?? undefined, `${param}.content`);
    switch (message["role"]) {
      case "system":
        return [{ role: Role.SYSTEM, parts: readContent(content, `${param}.content`, "system") }];
      case "assistant":
        return [{ role: Role.ASSISTANT, parts: readContent(content, `${param}.content`, "assistant") }];
      default:
        return splitResults(readContent(content, `${param}.content`, "user"));
    }
  });
}

function splitResults(parts: readonly PartInit[]): MessageInit[] {
  const messages: { role: Role; parts: PartInit[] }[] = [];
  for (const part of parts) {
    const role = part.content?.case === "toolResult" ? Role.TOOL : Role.USER;
    const last = messages.at(-1);
    if (last?.role === role) last.parts.push(part);
    else messages.push({ role, parts: [part] });
  }
  return messages.length === 0 ? [{ role: Role.USER }] : messages;
}

const formatMembers: ReadonlySet<string> = new Set(["type", "schema"]);

/** Reads the shape of the reply, which the vendor always holds to. */
function readOutputFormat(value: unknown, param: string): Format | undefined {
  const format = readObject(value, param);
  if (format === undefined) return undefined;
  if (format["type"] !== "json_schema")
    throw unknownWord(format["type"], `\`${param}.type\` must be \`json_schema\`.`, `${param}.type`);
  refuseUnknown(format, formatMembers, param);
  const schema = writeJson(requiredObject(format["schema"], `${param}.schema`));
  return { kind: { case: "jsonSchema", value: { schema, strict: true } } };
}

function readSampling(body: JsonObject): MessageInitShape<typeof SamplingOptionsSchema> | undefined {
  const temperature = readNumber(body["temperature"], "temperature", 0, 1);
  const topP = readNumber(body["top_p"], "top_p", 0, 1);
  const topK = readWhole(body["top_k"], "top_k", 0, 0xffff_ffff);
  if (temperature === undefined && topP === undefined && topK === undefined) return undefined;
  return {
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    ...(topK === undefined ? {} : { topK }),
  };
}

/** What no field holds: members of other names, and the rest of those that are held in part. */
function readExtension(
  body: JsonObject,
  rests: Readonly<Record<(typeof partlyHeld)[number], JsonObject>>,
): Struct | undefined {
  const kept = Object.entries({ ...body, ...rests }).filter(([name, value]) => {
    if (heldMembers.has(name) || value === null) return false;
    return !partlyHeld.some((held) => held === name) || Object.keys(value).length > 0;
  });
  if (kept.length === 0) return undefined;
  return holdJson(Object.fromEntries(kept), "");
}
