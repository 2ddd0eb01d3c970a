import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PartSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readBase64 } from "../base64.ts";
import { isDataUrl, readDataUrl, type TypedBytes } from "../data-url.ts";
import { invalid, unknownWord, untranslatable } from "../faults.ts";
import { isJsonObject, readList, readText, refuseUnknown, requiredObject, requiredText } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { cacheMembers, readCacheMark } from "./cache-marks.ts";

export type PartInit = MessageInitShape<typeof PartSchema>;

type PartType = "text" | "refusal" | "image_url" | "input_audio" | "file";

/** What the messages of a role may hold; https://platform.openai.com/docs/api-reference/chat/create. */
export const textOnly: readonly PartType[] = ["text"];
export const assistantParts: readonly PartType[] = ["text", "refusal"];
/** Tool messages hold text only at OpenAI; other vendors take pictures and files as well. */
export const mediaParts: readonly PartType[] = ["text", "image_url", "input_audio", "file"];

/** Reads content: a text, which is one part unless it is empty, or a list of parts of the types given. */
export function readContent(value: unknown, param: string, types: readonly PartType[]): PartInit[] {
  if (typeof value === "string") return value === "" ? [] : [textPart(value)];
  if (value != null && !Array.isArray(value)) throw invalid(`\`${param}\` must be a text or a list of parts.`, param);
  const items = readList(value, param) ?? [];
  if (items.length > partsMax) throw untranslatable(`\`${param}\` holds more than ${partsMax} parts.`, param);
  return items.map((item, index) => readPart(item, `${param}[${index}]`, types));
}

const partsMax = 10_000;

function textPart(text: string): PartInit {
  return { content: { case: "text", value: { text } } };
}

function readPart(value: unknown, param: string, types: readonly PartType[]): PartInit {
  if (!isJsonObject(value)) throw invalid(`\`${param}\` must be an object.`, param);
  const type = types.find((known) => known === value["type"]);
  if (type === undefined) {
    const known = types.map((name) => `\`${name}\``).join(", ");
    throw unknownWord(
      value["type"],
      `\`${param}.type\` must be one that can be translated here: ${known}.`,
      `${param}.type`,
    );
  }
  refuseUnknown(value, partMembers[type], param);
  const content = readPartContent(type, value, param);
  const cacheControl = readCacheMark(value, param);
  return cacheControl === undefined ? { content } : { content, cacheControl };
}

const partMembers: Readonly<Record<PartType, ReadonlySet<string>>> = {
  text: new Set(["type", "text", ...cacheMembers]),
  refusal: new Set(["type", "refusal"]),
  image_url: new Set(["type", "image_url", ...cacheMembers]),
  input_audio: new Set(["type", "input_audio", ...cacheMembers]),
  file: new Set(["type", "file", ...cacheMembers]),
};

type PartContent = NonNullable<PartInit["content"]>;

function readPartContent(type: PartType, part: JsonObject, param: string): PartContent {
  switch (type) {
    case "text":
    case "refusal": {
      const text = readText(part[type], `${param}.${type}`);
      if (text === undefined) throw invalid(`\`${param}.${type}\` is missing.`, `${param}.${type}`);
      return { case: type, value: { text } };
    }
    case "image_url":
      return { case: "image", value: readImage(part["image_url"], `${param}.image_url`) };
    case "input_audio":
      return { case: "audio", value: readAudio(part["input_audio"], `${param}.input_audio`) };
    case "file":
      return { case: "file", value: readFile(part["file"], `${param}.file`) };
  }
}

type MediaInit = Extract<PartContent, { case: "image" }>["value"];

const imageMembers: ReadonlySet<string> = new Set(["url", "detail"]);

/** Reads `image_url`; a plain text in its place, which Mistral takes, is its `url`. */
export function readImage(value: unknown, param: string): MediaInit {
  if (typeof value === "string") return readImage({ url: value }, param);
  const image = requiredObject(value, param);
  refuseUnknown(image, imageMembers, param);
  const url = requiredText(image["url"], `${param}.url`);
  const detail = readText(image["detail"], `${param}.detail`) ?? "";
  return { ...(isDataUrl(url) ? inline(readDataUrl(url), `${param}.url`) : linked(url)), detail };
}

const audioMembers: ReadonlySet<string> = new Set(["data", "format"]);

function readAudio(value: unknown, param: string): MediaInit {
  const audio = requiredObject(value, param);
  refuseUnknown(audio, audioMembers, param);
  const data = readBase64(requiredText(audio["data"], `${param}.data`));
  const format = requiredText(audio["format"], `${param}.format`);
  const mediaType = `audio/${format === "mp3" ? "mpeg" : format}`;
  return inline(data && { data, mediaType }, `${param}.data`);
}

const fileMembers: ReadonlySet<string> = new Set(["file_data", "file_id", "filename"]);

/** Reads `file`. Its data is base64, a data URL or, at OpenRouter, an address. */
function readFile(value: unknown, param: string): MediaInit {
  const file = requiredObject(value, param);
  refuseUnknown(file, fileMembers, param);
  const filename = readText(file["filename"], `${param}.filename`) ?? "";
  const data = readText(file["file_data"], `${param}.file_data`);
  if (data === undefined) {
    const fileId = requiredText(file["file_id"], `${param}.file_id`);
    return { source: { case: "fileId", value: fileId }, filename };
  }
  if (/^https?:/i.test(data)) return { ...linked(data), filename };
  return { ...inline(isDataUrl(data) ? readDataUrl(data) : untyped(readBase64(data)), `${param}.file_data`), filename };
}

function untyped(data: Uint8Array | undefined): TypedBytes | undefined {
  return data && { data, mediaType: "" };
}

function linked(url: string) {
  return { source: { case: "url" as const, value: url } };
}

function inline(bytes: TypedBytes | undefined, param: string) {
  if (bytes === undefined) throw invalid(`\`${param}\` must hold its data in base64.`, param);
  return { source: { case: "data" as const, value: bytes.data }, mediaType: bytes.mediaType };
}
