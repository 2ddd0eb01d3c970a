import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { AudioOutput, OutputFormat, SamplingOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { isJsonObject } from "../fields.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import { createOmissions, type Omissions } from "../omissions.ts";
import { writeConversation } from "./content-writer.ts";
import { addExtensions } from "./extensions.ts";
import { audioFormat, writeModalities } from "./generation-reader.ts";
import { dialectName } from "./name.ts";
import { writeThinking } from "./thinking.ts";
import { writeCallingConfig, writeTools } from "./tools-writer.ts";
import { type ModelTraits, traitsOf } from "./traits.ts";

/**
 * Writes the body of `generateContent`, which is that of `streamGenerateContent` too. Only what the Gemini API and Vertex AI
 * both know is written.
 * @throws WeirError TARGET_UNSUPPORTED with `param`, a path of the canonical request
 */
export function writeRequest(request: GenerateRequest, { model }: RequestOptions): RequestWriting {
  const omissions = createOmissions(dialectName);
  const traits = traitsOf(model);
  const tools = writeTools(request.tools, omissions);
  const functionCallingConfig = writeCallingConfig(request, omissions);
  const generationConfig = writeGeneration(request, traits, omissions);
  const body: JsonObject = {
    ...writeConversation(request.messages, traits, omissions),
    ...(tools.length === 0 ? {} : { tools }),
    ...(functionCallingConfig === undefined ? {} : { toolConfig: { functionCallingConfig } }),
    ...(Object.keys(generationConfig).length === 0 ? {} : { generationConfig }),
    ...writeServiceTier(request.serviceTier, omissions),
    ...writeLabels(request.metadata, omissions),
  };
  dropHints(request, omissions);
  return { body: addExtensions(body, request, omissions), warnings: omissions.warnings };
}

/** Notes the hints that have no place here. `store` is known to the Gemini API alone, and a fault to Vertex AI. */
function dropHints(request: GenerateRequest, omissions: Omissions): void {
  const { sampling } = request;
  const hints: Readonly<Record<string, boolean>> = {
    "sampling.min_p": sampling?.minP !== undefined,
    "sampling.logit_bias": Object.keys(sampling?.logitBias ?? {}).length > 0,
    user: request.user !== "",
    prompt_cache_key: request.promptCacheKey !== "",
    prompt_cache_retention: request.promptCacheRetention !== "",
    prediction: request.prediction.length > 0,
    verbosity: request.verbosity !== "",
    store: request.store === true,
  };
  for (const [param, isThere] of Object.entries(hints)) if (isThere) omissions.drop(param);
}

/** More are refused: https://ai.google.dev/api/generate-content#v1beta.GenerationConfig */
const stopsMax = 5;

function writeGeneration(request: GenerateRequest, traits: ModelTraits, omissions: Omissions): JsonObject {
  const { maxOutputTokens, choiceCount, stopSequences, topLogprobs } = request;
  if (stopSequences.length > stopsMax) {
    throw unsupported(`Gemini takes ${stopsMax} stop sequences at most.`, "stop_sequences");
  }
  const modalities = writeReplyModalities(request);
  const thinkingConfig = writeThinking(request.reasoning, traits, omissions);
  return {
    ...writeSampling(request.sampling, omissions),
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...(choiceCount === undefined ? {} : { candidateCount: choiceCount }),
    ...(stopSequences.length === 0 ? {} : { stopSequences }),
    ...writeFormat(request.outputFormat, omissions),
    ...(topLogprobs === undefined ? {} : { responseLogprobs: true }),
    ...(topLogprobs === undefined || topLogprobs === 0 ? {} : { logprobs: topLogprobs }),
    ...(modalities.length === 0 ? {} : { responseModalities: modalities }),
    ...writeSpeech(request.audio),
    ...(thinkingConfig === undefined ? {} : { thinkingConfig }),
  };
}

function writeSampling(sampling: SamplingOptions | undefined, omissions: Omissions): JsonObject {
  if (sampling === undefined) return {};
  const { temperature, topP, topK, presencePenalty, frequencyPenalty, seed } = sampling;
  const fits = seed === undefined || BigInt.asIntN(32, seed) === seed;
  if (!fits) omissions.drop("sampling.seed");
  const written = {
    temperature,
    topP,
    topK,
    presencePenalty,
    frequencyPenalty,
    seed: seed !== undefined && fits ? Number(seed) : undefined,
  };
  return Object.fromEntries(Object.entries(written).filter(([, value]) => value !== undefined));
}

/** `strict` needs no word: Gemini's replies always follow the schema. */
function writeFormat(format: OutputFormat | undefined, omissions: Omissions): JsonObject {
  switch (format?.kind.case) {
    case "text":
      return { responseMimeType: "text/plain" };
    case "json":
      return { responseMimeType: "application/json" };
    case "jsonSchema": {
      const { name, description, schema } = format.kind.value;
      if (parseObject(schema) === undefined) {
        throw unsupported("The schema of the reply is not a JSON object.", "output_format.json_schema.schema");
      }
      if (name !== "") omissions.drop("output_format.json_schema.name");
      if (description !== "") omissions.drop("output_format.json_schema.description");
      return { responseMimeType: "application/json", responseJsonSchema: rawJson(schema) };
    }
    default:
      return {};
  }
}

const knownModalities: ReadonlySet<string> = new Set(["text", "audio", "image", "video"]);

/** The modalities as a client of this dialect listed them, when they are the same ones; else as models usually want them. */
function writeReplyModalities({ modalities, extensions }: GenerateRequest): readonly string[] {
  if (modalities.some((word) => !knownModalities.has(word))) {
    throw unsupported("Gemini answers with text, sound, pictures and video only.", "modalities");
  }
  const beside = modalities.filter((word) => word !== "text");
  const own = extensions[dialectName]?.["generationConfig"];
  const listed: unknown = isJsonObject(own) ? own["responseModalities"] : undefined;
  if (Array.isArray(listed)) {
    const words = listed.map(String);
    const isSame = words.filter((word) => word !== "TEXT").join() === beside.join().toUpperCase();
    if (isSame) return words;
  }
  return writeModalities(beside);
}

function writeSpeech(audio: AudioOutput | undefined): JsonObject {
  if (audio === undefined) return {};
  if (audio.format !== "" && audio.format !== audioFormat) {
    throw unsupported(`Gemini speaks in \`${audioFormat}\` only.`, "audio.format");
  }
  if (audio.voice === "") return {};
  return { speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: audio.voice } } } };
}

// https://ai.google.dev/gemini-api/docs/priority-inference, .../flex-inference
const serviceTiers = /^(?:flex|standard|priority|SERVICE_TIER_\w+)$/;

function writeServiceTier(serviceTier: string, omissions: Omissions): JsonObject {
  if (serviceTier === "") return {};
  if (serviceTiers.test(serviceTier)) return { serviceTier };
  omissions.drop("service_tier");
  return {};
}

// https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls
const labelName = /^\p{Ll}[\p{Ll}\p{N}_-]{0,62}$/u;
const labelValue = /^[\p{Ll}\p{N}_-]{0,63}$/u;

function writeLabels(metadata: Readonly<Record<string, string>>, omissions: Omissions): JsonObject {
  const all = Object.entries(metadata);
  const labels = all.filter(([name, value]) => labelName.test(name) && labelValue.test(value));
  if (labels.length < all.length) omissions.drop("metadata");
  return labels.length === 0 ? {} : { labels: Object.fromEntries(labels) };
}
