import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { invalid, untranslatable } from "../faults.ts";
import {
  readNumber,
  readText,
  readWhole,
  requiredAnyText,
  requiredList,
  requiredObject,
  requiredText,
} from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { readMessages, readSystem } from "./conversation-reader.ts";
import { heldExtensions } from "./extensions.ts";
import { readExactRecord } from "./members.ts";
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
  const tier = readText(members.open("serviceTier").take("type"), "serviceTier.type");
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
    throw untranslatable(
      "The choice of a tool stands twice; leave one out.",
      "additionalModelRequestFields.tool_choice",
    );
  }
  if (choice !== undefined) Object.assign(request, choice);
  request.extensions = heldExtensions(members.rest());
  return create(GenerateRequestSchema, request);
}

function readInference(members: Remainder, request: RequestInit): void {
  const param = "inferenceConfig";
  const maxTokens = readWhole(members.take("maxTokens"), `${param}.maxTokens`, 1, outputTokensMax);
  if (maxTokens !== undefined) request.maxOutputTokens = maxTokens;
  const stopSequences = members.take("stopSequences");
  if (stopSequences !== undefined) request.stopSequences = readStopSequences(stopSequences);
  const temperature = readNumber(members.take("temperature"), `${param}.temperature`, 0, temperatureMax);
  const topP = readNumber(members.take("topP"), `${param}.topP`, 0, 1);
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
  const entries = Object.entries(requiredObject(value, param));
  if (entries.length > metadataMax) throw invalid(`There may be at most ${metadataMax} members.`, param);
  return Object.fromEntries(entries.map(([name, text]) => [name, requiredAnyText(text, param)]));
}

function readStopSequences(value: unknown): string[] {
  const param = "inferenceConfig.stopSequences";
  const texts = requiredList(value, param);
  if (texts.length > stopSequencesMax) throw invalid(`There may be at most ${stopSequencesMax} stop sequences.`, param);
  return texts.map((text, index) => requiredText(text, `${param}[${index}]`));
}

/** The shape that `outputConfig.textFormat` asks for; undefined for one that no canonical field holds. */
function readTextFormat(value: unknown): RequestInit["outputFormat"] {
  const param = "outputConfig.textFormat";
  if (value === undefined || requiredObject(value, param)["type"] !== "json_schema") return undefined;
  const format = readExactRecord(value, formatMembers, param);
  const structure = readExactRecord(format["structure"], structureMembers, `${param}.structure`);
  const schemaParam = `${param}.structure.jsonSchema`;
  const jsonSchema = readExactRecord(structure["jsonSchema"], schemaMembers, schemaParam);
  const name = readText(jsonSchema["name"], `${schemaParam}.name`) ?? "";
  const description = readText(jsonSchema["description"], `${schemaParam}.description`) ?? "";
  const schema = requiredText(jsonSchema["schema"], `${schemaParam}.schema`);
  return { kind: { case: "jsonSchema", value: { name, description, schema } } };
}
