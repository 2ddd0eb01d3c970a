import { create } from "@bufbuild/protobuf";
import { type Media, MediaSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped } from "../events.ts";
import { invalid, unknownWord, unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { readText, requireObject, requireText } from "./checks.ts";
import { dialectName } from "./name.ts";

/** Reads an `input_image`. */
export function readImage(part: JsonObject, param: string): Media {
  const detail = readText(part["detail"], `${param}.detail`);
  const media = readSource(part, param, "image_url");
  media.detail = detail === "auto" ? "" : detail;
  return media;
}

/** Reads an `input_file`. */
export function readFile(part: JsonObject, param: string): Media {
  const data = readText(part["file_data"], `${param}.file_data`);
  const media =
    data === ""
      ? readSource(part, param, "file_url")
      : (readDataUrl(data, `${param}.file_data`) ??
        create(MediaSchema, { source: { case: "data", value: readBase64(data, `${param}.file_data`) } }));
  media.filename = readText(part["filename"], `${param}.filename`);
  media.detail = readText(part["detail"], `${param}.detail`);
  return media;
}

/** Reads an `input_audio`. */
export function readAudio(part: JsonObject, param: string): Media {
  const audio = requireObject(part["input_audio"], `${param}.input_audio`);
  const mediaType = audioTypes.get(audio["format"]);
  if (mediaType === undefined) {
    throw unknownWord(
      audio["format"],
      `\`${param}.input_audio.format\` must be \`mp3\` or \`wav\`.`,
      `${param}.input_audio.format`,
    );
  }
  const dataParam = `${param}.input_audio.data`;
  const value = readBase64(requireText(audio["data"], dataParam), dataParam);
  return create(MediaSchema, { source: { case: "data", value }, mediaType });
}

const audioTypes: ReadonlyMap<unknown, string> = new Map([
  ["mp3", "audio/mpeg"],
  ["wav", "audio/wav"],
]);

const audioFormats: ReadonlyMap<string, string> = new Map([
  ["audio/mpeg", "mp3"],
  ["audio/mp3", "mp3"],
  ["audio/wav", "wav"],
  ["audio/x-wav", "wav"],
  ["audio/wave", "wav"],
]);

function readSource(part: JsonObject, param: string, urlMember: string): Media {
  const fileId = readText(part["file_id"], `${param}.file_id`);
  if (fileId !== "") return create(MediaSchema, { source: { case: "fileId", value: fileId } });
  const url = requireText(part[urlMember], `${param}.${urlMember}`);
  return readDataUrl(url, `${param}.${urlMember}`) ?? create(MediaSchema, { source: { case: "url", value: url } });
}

// https://www.rfc-editor.org/rfc/rfc2397, of which only the base64 form is in use
const dataUrl = /^data:([^,]*);base64,/i;

function readDataUrl(url: string, param: string): Media | undefined {
  const match = dataUrl.exec(url);
  if (match === null) return undefined;
  const value = readBase64(url.slice(match[0].length), param);
  return create(MediaSchema, { source: { case: "data", value }, mediaType: match[1] ?? "" });
}

function readBase64(text: string, param: string): Uint8Array {
  if (!base64.test(text)) throw invalid(`\`${param}\` is not valid base64.`, param);
  return Buffer.from(text, "base64");
}

const base64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Writes an `input_image`. `param`: path of the canonical part. */
export function writeImage(media: Media, param: string, warnings: Warning[]): JsonObject {
  const { source, mediaType, filename, detail } = media;
  if (filename !== "") warnings.push(dropped(`${param}.filename`, dialectName));
  if (mediaType !== "" && source.case !== "data") warnings.push(dropped(`${param}.media_type`, dialectName));
  if (!imageDetails.has(detail)) warnings.push(dropped(`${param}.detail`, dialectName));
  return {
    type: "input_image",
    // The types demand it.
    detail: imageDetails.has(detail) && detail !== "" ? detail : "auto",
    ...(source.case === "fileId"
      ? { file_id: source.value }
      : { image_url: writeUrl(media, param, source.case === "data" ? imageType(source.value) : "") }),
  };
}

const imageDetails: ReadonlySet<string> = new Set(["", "low", "high", "auto", "original"]);

/** Writes an `input_file`. `param`: path of the canonical part. */
export function writeFile(media: Media, param: string, warnings: Warning[]): JsonObject {
  const { source, mediaType, filename, detail } = media;
  if (mediaType !== "" && source.case !== "data") warnings.push(dropped(`${param}.media_type`, dialectName));
  const knowsDetail = fileDetails.has(detail);
  if (!knowsDetail) warnings.push(dropped(`${param}.detail`, dialectName));
  // OpenAI tells a file's kind by its name, and refuses bytes without one.
  const name = filename === "" && source.case === "data" ? (defaultNames.get(mediaType) ?? "document") : filename;
  return {
    type: "input_file",
    ...(name === "" ? {} : { filename: name }),
    ...(detail === "" || !knowsDetail ? {} : { detail }),
    ...writeFileSource(media, param),
  };
}

const fileDetails: ReadonlySet<string> = new Set(["", "low", "high", "auto"]);

const defaultNames: ReadonlyMap<string, string> = new Map([
  ["application/pdf", "document.pdf"],
  ["text/plain", "document.txt"],
  ["text/csv", "document.csv"],
  ["text/html", "document.html"],
  ["text/markdown", "document.md"],
]);

function writeFileSource(media: Media, param: string): JsonObject {
  const { source, mediaType } = media;
  if (source.case === "fileId") return { file_id: source.value };
  if (source.case !== "data") return { file_url: writeUrl(media, param, "") };
  return { file_data: mediaType === "" ? writeBase64(source.value) : writeUrl(media, param, "") };
}

/** Writes an `input_audio`. `param`: path of the canonical part. */
export function writeAudio({ source, mediaType }: Media, param: string): JsonObject {
  if (source.case !== "data") throw unsupported("The target takes sound only as bytes; send the bytes.", param);
  const format = audioFormats.get(mediaType);
  if (format === undefined) throw unsupported("The target takes sound only as MP3 or WAV.", `${param}.media_type`);
  return { type: "input_audio", input_audio: { data: writeBase64(source.value), format } };
}

function writeUrl({ source, mediaType }: Media, param: string, guessedType: string): string {
  switch (source.case) {
    case "data":
      return `data:${mediaType === "" ? guessedType : mediaType};base64,${writeBase64(source.value)}`;
    case "url":
      return source.value;
    default:
      throw unsupported("A picture or file has neither bytes nor an address.", param);
  }
}

/** Base64 as this dialect writes bytes. */
export function writeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

const signatures: readonly (readonly [start: string, type: string])[] = [
  ["\x89PNG", "image/png"],
  ["\xff\xd8\xff", "image/jpeg"],
  ["GIF8", "image/gif"],
  ["RIFF", "image/webp"],
];

/** The type of a picture, by its first bytes; `application/octet-stream` when unknown. */
export function imageType(bytes: Uint8Array): string {
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  return signatures.find(([signature]) => start.startsWith(signature))?.[1] ?? "application/octet-stream";
}
