import { create } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { untranslatable } from "../faults.ts";
import { memberPath, readObject, readText, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readContents, readSystemInstruction } from "./content-reader.ts";
import { readGeneration } from "./generation-reader.ts";
import { memberNames, sortMembers } from "./members.ts";
import { dialectName } from "./name.ts";
import { readToolConfig, readTools, type ToolInit } from "./tools-reader.ts";

// `model` says what the path has said.
const names = memberNames("model contents systemInstruction tools toolConfig generationConfig serviceTier labels");

/**
 * Reads the body of `generateContent` or `streamGenerateContent`; its `model` stays empty, since the path names it.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readRequest(body: JsonObject): GenerateRequest {
  const { known, rest } = sortMembers(body, names, "");
  const generation = readGeneration(known["generationConfig"]);
  const { toolChoice, isStrict, rest: toolRest } = readToolConfig(known["toolConfig"]);
  const tools = readTools(known["tools"]);
  const tier = readText(known["serviceTier"], "serviceTier") ?? "";
  const extension = holdJson(
    {
      ...rest,
      ...(isEmpty(generation.rest) ? {} : { generationConfig: generation.rest }),
      ...(isEmpty(toolRest) ? {} : { toolConfig: toolRest }),
    },
    "",
  );
  return create(GenerateRequestSchema, {
    ...generation.fields,
    messages: [...readSystemInstruction(known["systemInstruction"]), ...readContents(known["contents"])],
    tools: isStrict ? tools.map(asStrict) : tools,
    ...(toolChoice === undefined ? {} : { toolChoice }),
    serviceTier: tier === "unspecified" ? "" : tier,
    metadata: readLabels(known["labels"]),
    extensions: isEmpty(extension) ? {} : { [dialectName]: extension },
  });
}

function isEmpty(object: object): boolean {
  return Object.keys(object).length === 0;
}

function asStrict(tool: ToolInit): ToolInit {
  if (tool.kind?.case !== "function") return tool;
  return { ...tool, kind: { case: "function", value: { ...tool.kind.value, strict: true } } };
}

const labelsMax = 64;

function readLabels(value: unknown): Record<string, string> {
  const labels = Object.entries(readObject(value, "labels") ?? {});
  if (labels.length > labelsMax) throw untranslatable(`There are more than ${labelsMax} labels.`, "labels");
  return Object.fromEntries(
    labels.map(([name, label]) => {
      const path = memberPath("labels", name);
      return [name, required(readText(label, path), path)];
    }),
  );
}
