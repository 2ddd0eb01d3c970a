import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { invalid, untranslatable } from "../faults.ts";
import {
  isJsonObject,
  readFlag,
  readNumber,
  readObject,
  readText,
  readTexts,
  readWhole,
  requiredObject,
} from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { memberNames, sortMembers } from "./members.ts";
import { toJsonSchema } from "./schema.ts";
import { readThinking } from "./thinking.ts";

/** What was read of `generationConfig`. */
export interface GenerationReading {
  readonly fields: Exclude<MessageInitShape<typeof GenerateRequestSchema>, GenerateRequest>;
  /** What no canonical field holds. */
  readonly rest: JsonObject;
}

const names = memberNames(
  "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty " +
    "frequencyPenalty responseMimeType responseSchema responseJsonSchema responseFormat " +
    "responseLogprobs logprobs responseModalities speechConfig thinkingConfig",
);

const param = "generationConfig";
export const outputTokensMax = 10_000_000;
export const choicesMax = 128;
const stopsMax = 64;
const logprobsMax = 20;

/** Reads `generationConfig`. https://ai.google.dev/api/generate-content#v1beta.GenerationConfig */
export function readGeneration(value: unknown): GenerationReading {
  const { known, rest } = sortMembers(readObject(value, param) ?? {}, names, param);
  const whole = (name: string, min: number, max: number) => readWhole(known[name], `${param}.${name}`, min, max);
  const thinking = readThinking(known["thinkingConfig"] ?? {}, `${param}.thinkingConfig`);
  const speech = readSpeech(known["speechConfig"]);
  const logprobs = readLogprobs(known);
  const format = readFormat(known);
  const modalities = readModalities(known["responseModalities"]);
  const stopSequences = readTexts(known["stopSequences"], `${param}.stopSequences`);
  if (stopSequences.length > stopsMax) {
    throw untranslatable(`There are more than ${stopsMax} stop sequences.`, `${param}.stopSequences`);
  }
  const maxOutputTokens = whole("maxOutputTokens", 1, outputTokensMax);
  const choiceCount = whole("candidateCount", 1, choicesMax);
  const sampling = readSampling(known);
  return {
    fields: {
      ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
      ...(choiceCount === undefined ? {} : { choiceCount }),
      ...(sampling === undefined ? {} : { sampling }),
      stopSequences,
      ...format.fields,
      ...logprobs.fields,
      ...modalities.fields,
      ...speech.fields,
      ...(thinking.reasoning === undefined ? {} : { reasoning: thinking.reasoning }),
    },
    rest: {
      ...rest,
      ...format.rest,
      ...logprobs.rest,
      ...modalities.rest,
      ...(isEmpty(speech.rest) ? {} : { speechConfig: speech.rest }),
      ...(isEmpty(thinking.rest) ? {} : { thinkingConfig: thinking.rest }),
    },
  };
}

function isEmpty(object: JsonObject): boolean {
  return Object.keys(object).length === 0;
}

function readSampling(known: JsonObject): GenerationReading["fields"]["sampling"] {
  const number = (name: string, min: number, max: number) => readNumber(known[name], `${param}.${name}`, min, max);
  const seed = readWhole(known["seed"], `${param}.seed`, -0x8000_0000, 0x7fff_ffff);
  const sampling = {
    temperature: number("temperature", 0, 2),
    topP: number("topP", 0, 1),
    topK: readWhole(known["topK"], `${param}.topK`, 0, 0xffff_ffff),
    presencePenalty: number("presencePenalty", -2, 2),
    frequencyPenalty: number("frequencyPenalty", -2, 2),
    seed: seed === undefined ? undefined : BigInt(seed),
  };
  const there = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== undefined));
  return isEmpty(there) ? undefined : there;
}

/** `logprobs` says something only beside `responseLogprobs`. */
function readLogprobs(known: JsonObject): GenerationReading {
  const isWanted = readFlag(known["responseLogprobs"], `${param}.responseLogprobs`) ?? false;
  const top = readWhole(known["logprobs"], `${param}.logprobs`, 0, logprobsMax);
  if (isWanted) return { fields: { topLogprobs: top ?? 0 }, rest: {} };
  return { fields: {}, rest: top === undefined ? {} : { logprobs: top } };
}

/** The canonical form lists what there may be besides text. What that cannot tell stays in the rest, for Gemini. */
function readModalities(value: unknown): GenerationReading {
  const words = readTexts(value, `${param}.responseModalities`).map((word) => word.toUpperCase());
  const modalities = words.filter((word) => word !== "TEXT").map((word) => word.toLowerCase());
  const isUsual = words.join() === writeModalities(modalities).join() || (words.length === 1 && words[0] === "TEXT");
  return { fields: { modalities }, rest: isUsual ? {} : { responseModalities: words } };
}

/** The usual `responseModalities`: pictures come with text, and sound alone, as the models demand it. */
export function writeModalities(modalities: readonly string[]): string[] {
  const words = modalities.map((word) => word.toUpperCase());
  return words.includes("IMAGE") ? ["TEXT", ...words] : words;
}

const speechNames = memberNames("voiceConfig");
const voiceNames = memberNames("prebuiltVoiceConfig");
const prebuiltNames = memberNames("voiceName");

/** The format of Gemini's sound: https://ai.google.dev/gemini-api/docs/speech-generation */
export const audioFormat = "pcm16";

function readSpeech(value: unknown): GenerationReading {
  const path = `${param}.speechConfig`;
  const speech = readObject(value, path);
  if (speech === undefined) return { fields: {}, rest: {} };
  const { known, rest } = sortMembers(speech, speechNames, path);
  const voice = sortMembers(readObject(known["voiceConfig"], `${path}.voiceConfig`) ?? {}, voiceNames, path);
  const prebuiltPath = `${path}.voiceConfig.prebuiltVoiceConfig`;
  const prebuilt = readObject(voice.known["prebuiltVoiceConfig"], prebuiltPath) ?? {};
  const { known: named, rest: others } = sortMembers(prebuilt, prebuiltNames, prebuiltPath);
  const voiceName = readText(named["voiceName"], `${prebuiltPath}.voiceName`) ?? "";
  const voiceRest = { ...voice.rest, ...(isEmpty(others) ? {} : { prebuiltVoiceConfig: others }) };
  return {
    fields: voiceName === "" ? {} : { audio: { voice: voiceName, format: audioFormat } },
    rest: { ...rest, ...(isEmpty(voiceRest) ? {} : { voiceConfig: voiceRest }) },
  };
}

/** Reads the shape of the reply, from the older members or from `responseFormat`. */
function readFormat(known: JsonObject): GenerationReading {
  const { responseFormat, responseSchema, responseJsonSchema } = known;
  const mimeType = readText(known["responseMimeType"], `${param}.responseMimeType`) ?? "";
  if (responseFormat !== undefined) {
    const text = readTextFormat(responseFormat);
    if (text === undefined) return { fields: {}, rest: { responseFormat } };
    return { fields: formatOf(text.mimeType, text.schema, `${param}.responseFormat`), rest: {} };
  }
  if (responseJsonSchema !== undefined) {
    const path = `${param}.responseJsonSchema`;
    if (responseSchema !== undefined)
      throw invalid("`responseSchema` and `responseJsonSchema` exclude each other.", path);
    return { fields: formatOf(mimeType, requiredObject(responseJsonSchema, path), param), rest: {} };
  }
  const schema = responseSchema === undefined ? undefined : toJsonSchema(responseSchema, `${param}.responseSchema`);
  return { fields: formatOf(mimeType, schema, param), rest: {} };
}

const formatNames = memberNames("text");
const textFormatNames = memberNames("mimeType schema");

/** The one format of text that `responseFormat` holds; undefined when it holds others, which only Gemini knows. */
function readTextFormat(
  value: unknown,
): { readonly mimeType: string; readonly schema: JsonObject | undefined } | undefined {
  const path = `${param}.responseFormat`;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const [format] = list;
  if (list.length !== 1 || !isJsonObject(format)) return undefined;
  const { known, rest } = sortMembers(format, formatNames, path);
  const text = known["text"];
  if (!isEmpty(rest) || !isJsonObject(text)) return undefined;
  const members = sortMembers(text, textFormatNames, path);
  if (!isEmpty(members.rest)) return undefined;
  const mimeType = readText(members.known["mimeType"], `${path}.text.mimeType`) ?? "";
  const schema = readObject(members.known["schema"], `${path}.text.schema`);
  return { mimeType: mimeType.toLowerCase().replace("_", "/"), schema };
}

function formatOf(mimeType: string, schema: JsonObject | undefined, path: string): GenerationReading["fields"] {
  if (mimeType === "application/json") {
    if (schema === undefined) return { outputFormat: { kind: { case: "json", value: {} } } };
    return { outputFormat: { kind: { case: "jsonSchema", value: { schema: writeJson(schema) } } } };
  }
  const isText = mimeType === "" || mimeType === "text/plain";
  if (!isText || schema !== undefined) {
    throw untranslatable("Other providers know only text and JSON; ask for `application/json` with the schema.", path);
  }
  return mimeType === "" ? {} : { outputFormat: { kind: { case: "text", value: {} } } };
}
