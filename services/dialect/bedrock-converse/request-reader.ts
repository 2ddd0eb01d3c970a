import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { JsonObject } from "../json.ts";
import { readMessages, readSystem } from "./conversation-reader.ts";
import { heldExtensions } from "./extensions.ts";
import { invalid } from "./faults.ts";
import {
  readExactRecord,
  readList,
  readName,
  readOptionalInteger,
  readOptionalNumber,
  readOptionalText,
  readRecord,
  readText,
} from "./members.ts";
import { takeChoice, takeIf, takeTopK } from "./model-fields.ts";
import { createRemainder, type Remainder } from "./remainder.ts";
import { takeReasoning } from "./thinking.ts";
import { readToolChoice, readTools } from "./tools-reader.ts";

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

const outputTokensMax = 10_000_000;
const temperatureMax = 2;
const stopSequencesMax = 64;
const metadataMax = 64;

const formatMembers = new Set(["type", "structure"]);
const structureMembers = new Set(["jsonSchema"]);
const schemaMembers = new Set(["schema", "name", "description"]);

/**
 * Reads the body of a Converse or ConverseStream request. The model, which is in the path, stays empty. Members that no
 * canonical field holds go to the dialect's extension.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readRequest(body: JsonObject): GenerateRequest {
  const members = createRemainder(body);
  const system = members.take("system");
  const messages = members.take("messages");
  const tier = readOptionalText(members.open("serviceTier").take("type"), "serviceTier.type");
  const request: RequestInit = {
    messages: [
      ...(system === undefined ? [] : readSystem(system)),
      ...(messages === undefined ? [] : readMessages(messages)),
    ],
    serviceTier: tier ?? "",
    metadata: readMetadata(members.take("requestMetadata")),
  };
  readInference(members.open("inferenceConfig"), request);
  readToolConfig(members.open("toolConfig"), request);
  const output = members.open("outputConfig");
  const outputFormat = takeIf(output, "textFormat", readTextFormat);
  if (outputFormat !== undefined) request.outputFormat = outputFormat;
  const fields = members.open("additionalModelRequestFields");
  const reasoning = takeReasoning(output, fields);
  if (reasoning !== undefined) request.reasoning = reasoning;
  const topK = takeTopK(fields);
  if (topK !== undefined) request.sampling = { ...request.sampling, topK };
  const choice = takeChoice(fields);
  if (choice?.toolChoice !== undefined && request.toolChoice !== undefined) {
    throw invalid("The choice of a tool stands twice; leave one out.", "additionalModelRequestFields.tool_choice");
  }
  if (choice !== undefined) Object.assign(request, choice);
  request.extensions = heldExtensions(members.rest());
  return create(GenerateRequestSchema, request);
}

function readInference(members: Remainder, request: RequestInit): void {
  const param = "inferenceConfig";
  const maxTokens = readOptionalInteger(members.take("maxTokens"), outputTokensMax, `${param}.maxTokens`);
  if (maxTokens !== undefined) request.maxOutputTokens = maxTokens;
  const stopSequences = members.take("stopSequences");
  if (stopSequences !== undefined) request.stopSequences = readStopSequences(stopSequences);
  const temperature = readOptionalNumber(members.take("temperature"), temperatureMax, `${param}.temperature`);
  const topP = readOptionalNumber(members.take("topP"), 1, `${param}.topP`);
  if (temperature === undefined && topP === undefined) return;
  request.sampling = { ...(temperature === undefined ? {} : { temperature }), ...(topP === undefined ? {} : { topP }) };
}

function readToolConfig(members: Remainder, request: RequestInit): void {
  const tools = members.take("tools");
  const choice = members.take("toolChoice");
  if (tools !== undefined) request.tools = readTools(tools);
  if (choice !== undefined) request.toolChoice = readToolChoice(choice);
}

function readMetadata(value: unknown): Record<string, string> {
  const param = "requestMetadata";
  if (value === undefined) return {};
  const entries = Object.entries(readRecord(value, param));
  if (entries.length > metadataMax) throw invalid(`There may be at most ${metadataMax} members.`, param);
  return Object.fromEntries(entries.map(([name, text]) => [name, readText(text, param)]));
}

function readStopSequences(value: unknown): string[] {
  const param = "inferenceConfig.stopSequences";
  const texts = readList(value, param);
  if (texts.length > stopSequencesMax) throw invalid(`There may be at most ${stopSequencesMax} stop sequences.`, param);
  return texts.map((text, index) => readName(text, `${param}[${index}]`));
}

/** The shape that `outputConfig.textFormat` asks for; undefined for one that no canonical field holds. */
function readTextFormat(value: unknown): RequestInit["outputFormat"] {
  const param = "outputConfig.textFormat";
  if (value === undefined || readRecord(value, param)["type"] !== "json_schema") return undefined;
  const format = readExactRecord(value, formatMembers, param);
  const structure = readExactRecord(format["structure"], structureMembers, `${param}.structure`);
  const schemaParam = `${param}.structure.jsonSchema`;
  const jsonSchema = readExactRecord(structure["jsonSchema"], schemaMembers, schemaParam);
  const name = readOptionalText(jsonSchema["name"], `${schemaParam}.name`) ?? "";
  const description = readOptionalText(jsonSchema["description"], `${schemaParam}.description`) ?? "";
  const schema = readName(jsonSchema["schema"], `${schemaParam}.schema`);
  return { kind: { case: "jsonSchema", value: { name, description, schema } } };
}
