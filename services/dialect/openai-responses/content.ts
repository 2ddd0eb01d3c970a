import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type CacheControl,
  CacheControlSchema,
  type Citation,
  type Part,
  PartSchema,
  Role,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped } from "../events.ts";
import { invalid, unknownWord, unsupported, untranslatable } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { readList, readObject, readText, requireObject } from "./checks.ts";
import { readAnnotation, writeAnnotation } from "./citation.ts";
import { readAudio, readFile, readImage, writeAudio, writeFile, writeImage } from "./media.ts";
import { dialectName } from "./name.ts";

type PartContent = NonNullable<MessageInitShape<typeof PartSchema>["content"]>;

/** Reads the content of a message, or the output of a tool: a text, or a list of parts. */
export function readContent(value: unknown, role: Role, param: string): Part[] {
  if (typeof value === "string") return [textPart(value)];
  if (!Array.isArray(value)) throw invalid(`\`${param}\` must be a text or a list of parts.`, param);
  return (value as readonly unknown[]).map((part, index) => readPart(part, role, `${param}[${index}]`));
}

function textPart(text: string): Part {
  return create(PartSchema, { content: { case: "text", value: { text } } });
}

function readPart(value: unknown, role: Role, param: string): Part {
  const json = requireObject(value, param);
  const cacheControl = readBreakpoint(json["prompt_cache_breakpoint"], `${param}.prompt_cache_breakpoint`);
  return create(PartSchema, {
    content: readPartContent(json, role, param),
    ...(cacheControl === undefined ? {} : { cacheControl }),
  });
}

function readPartContent(json: JsonObject, role: Role, param: string): PartContent {
  const fromModel = role === Role.ASSISTANT;
  switch (json["type"]) {
    case "input_text":
      return { case: "text", value: { text: requireString(json["text"], `${param}.text`) } };
    case "output_text":
      if (!fromModel) break;
      return {
        case: "text",
        value: {
          text: requireString(json["text"], `${param}.text`),
          citations: readCitations(json["annotations"], `${param}.annotations`),
        },
      };
    case "refusal":
      if (!fromModel) break;
      return { case: "refusal", value: { text: requireString(json["refusal"], `${param}.refusal`) } };
    case "input_image":
      return { case: "image", value: readImage(json, param) };
    case "input_file":
      return { case: "file", value: readFile(json, param) };
    case "input_audio":
      return { case: "audio", value: readAudio(json, param) };
    default:
  }
  throw unknownWord(json["type"], `\`${param}.type\` names a kind of content that cannot stand here.`, `${param}.type`);
}

function requireString(value: unknown, param: string): string {
  if (typeof value !== "string") throw invalid(`\`${param}\` must be a text.`, param);
  return value;
}

function readCitations(value: unknown, param: string): Citation[] {
  return readList(value, param).map((annotation, index) => {
    const citation = readAnnotation(annotation);
    if (citation === undefined) {
      throw untranslatable(`\`${param}[${index}].type\` names no known kind of annotation.`, `${param}[${index}].type`);
    }
    return citation;
  });
}

const lifetimes: ReadonlyMap<string, number> = new Map([
  ["", 0],
  ["30m", 1_800],
  ["12h", 43_200],
]);

function readBreakpoint(value: unknown, param: string): CacheControl | undefined {
  const json = readObject(value, param);
  if (json === undefined) return undefined;
  const ttlSeconds = lifetimes.get(readText(json["ttl"], `${param}.ttl`));
  if (ttlSeconds === undefined) throw untranslatable(`\`${param}.ttl\` must be \`30m\` or \`12h\`.`, `${param}.ttl`);
  return create(CacheControlSchema, { ttlSeconds });
}

/**
 * Writes what a user, the application or a tool says: one plain text as it is, else a list of parts.
 * @param param path of the canonical parts: `messages[0].parts`
 */
export function writeInputContent(parts: readonly Part[], param: string, warnings: Warning[]): string | JsonObject[] {
  const [first] = parts;
  const written = parts.map((part, index) => writeInputPart(part, `${param}[${index}]`, warnings));
  return parts.length === 1 && first?.content.case === "text" ? first.content.value.text : written;
}

function writeInputPart(part: Part, param: string, warnings: Warning[]): JsonObject {
  warnOfCacheControl(part, param, warnings);
  const { content } = part;
  switch (content.case) {
    case "text":
      if (content.value.citations.length > 0) warnings.push(dropped(`${param}.text.citations`, dialectName));
      return { type: "input_text", text: content.value.text };
    case "image":
      return writeImage(content.value, `${param}.image`, warnings);
    case "audio":
      return writeAudio(content.value, `${param}.audio`);
    case "file":
      return writeFile(content.value, `${param}.file`, warnings);
    default:
      throw unsupported("The target cannot take this kind of content here.", param);
  }
}

/** Writes a text or a refusal of the model. */
export function writeOutputPart(content: Part["content"], param: string): JsonObject {
  switch (content.case) {
    case "text":
      return {
        type: "output_text",
        text: content.value.text,
        annotations: content.value.citations.map(writeAnnotation),
      };
    case "refusal":
      return { type: "refusal", refusal: content.value.text };
    default:
      throw unsupported("The target cannot take this kind of content as the model's own.", param);
  }
}

/** Models before GPT-5.6 and other vendors refuse breakpoints; OpenAI caches prefixes without them. */
export function warnOfCacheControl(part: Part, param: string, warnings: Warning[]): void {
  if (part.cacheControl !== undefined) warnings.push(dropped(`${param}.cache_control`, dialectName));
}
