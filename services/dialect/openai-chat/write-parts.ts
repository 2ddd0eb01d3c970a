import type { Media, Part, Text } from "@weir/gen/weir/chat/v1/conversation_pb";
import { writeBase64 } from "../base64.ts";
import { writeDataUrl } from "../data-url.ts";
import { unsupported } from "../faults.ts";
import { imageType } from "../image-type.ts";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { writeCacheMark } from "./cache-marks.ts";
import type { TargetTraits } from "./traits.ts";

/** What every writer of a part needs. */
export interface PartTarget {
  readonly traits: TargetTraits;
  readonly omissions: Omissions;
}

/** Content as a text, where it is one text without a mark, else as a list of parts. */
export function contentOf(parts: readonly JsonObject[]): string | readonly JsonObject[] {
  const [first] = parts;
  if (first === undefined) return "";
  const { type, text, ...marks } = first;
  const plain = parts.length === 1 && type === "text" && Object.keys(marks).length === 0;
  return plain && typeof text === "string" ? text : parts;
}

/** A part of a user's message: text, a picture, sound or a file. */
export function writeMediaPart(part: Part, param: string, target: PartTarget): JsonObject {
  const marks = mark(part, param, target);
  switch (part.content.case) {
    case "text":
      return { ...writeText(part.content.value, param, target), ...marks };
    case "image":
      return { ...writeImage(part.content.value, `${param}.image`, target), ...marks };
    case "audio":
      return { ...writeAudio(part.content.value, `${param}.audio`, target), ...marks };
    case "file":
      return { ...writeFile(part.content.value, `${param}.file`, target), ...marks };
    default:
      throw unsupported("A user's message to this target holds text, pictures, sound and files only.", param);
  }
}

/** A part where the target takes text alone. @param place what it is a part of, for people */
export function writeTextPart(part: Part, param: string, place: string, target: PartTarget): JsonObject {
  if (part.content.case !== "text") throw unsupported(`${place} holds text only at this target.`, param);
  return { ...writeText(part.content.value, param, target), ...mark(part, param, target) };
}

/** Text; its citations have no place in a request. */
export function writeText(text: Text, param: string, { omissions }: PartTarget): JsonObject {
  if (text.citations.length > 0) omissions.drop(`${param}.text.citations`);
  return { type: "text", text: text.text };
}

/** The members that mark a part for the prompt cache. */
export function mark(part: Part, param: string, { traits, omissions }: PartTarget): JsonObject {
  const written = part.cacheControl && writeCacheMark(part.cacheControl, traits);
  if (part.cacheControl && written === undefined) omissions.drop(`${param}.cache_control`);
  return written ?? {};
}

function writeImage(image: Media, param: string, target: PartTarget): JsonObject {
  const detail = image.detail === "" ? {} : { detail: image.detail };
  omit(["filename"], image, param, target);
  return { type: "image_url", image_url: { url: imageUrl(image, param, target), ...detail } };
}

function imageUrl(image: Media, param: string, target: PartTarget): string {
  switch (image.source.case) {
    case "url":
      omit(["mediaType"], image, param, target);
      return image.source.value;
    case "data": {
      const mediaType = image.mediaType === "" ? imageType(image.source.value) : image.mediaType;
      if (mediaType === "")
        throw unsupported("This target must be told a picture's media type.", `${param}.media_type`);
      return writeDataUrl({ mediaType, data: image.source.value });
    }
    default:
      throw unsupported("This target takes pictures as bytes or by address, not by a file's id.", `${param}.file_id`);
  }
}

// https://platform.openai.com/docs/guides/audio: `wav` and `mp3` are all that it hears.
const audioFormats: ReadonlyMap<string, string> = new Map([
  ["audio/wav", "wav"],
  ["audio/x-wav", "wav"],
  ["audio/wave", "wav"],
  ["audio/vnd.wave", "wav"],
  ["audio/mpeg", "mp3"],
  ["audio/mp3", "mp3"],
]);

function writeAudio(audio: Media, param: string, target: PartTarget): JsonObject {
  if (audio.source.case !== "data") throw unsupported("This target takes sound as bytes only.", param);
  const format = audioFormats.get(audio.mediaType.toLowerCase());
  if (format === undefined) throw unsupported("This target hears WAV and MP3 only.", `${param}.media_type`);
  omit(["filename", "detail"], audio, param, target);
  return { type: "input_audio", input_audio: { data: writeBase64(audio.source.value), format } };
}

function writeFile(file: Media, param: string, target: PartTarget): JsonObject {
  const { source, filename, mediaType } = file;
  omit(["detail"], file, param, target);
  switch (source.case) {
    case "fileId":
      omit(["mediaType"], file, param, target);
      return { type: "file", file: { file_id: source.value, ...(filename === "" ? {} : { filename }) } };
    case "data": {
      const data = mediaType === "" ? writeBase64(source.value) : writeDataUrl({ mediaType, data: source.value });
      return { type: "file", file: { file_data: data, filename: filename === "" ? fileName(mediaType) : filename } };
    }
    default:
      throw unsupported("This target takes files as bytes or by id, not by address.", `${param}.url`);
  }
}

/** OpenAI demands a name beside a file's bytes. */
function fileName(mediaType: string): string {
  return mediaType === "application/pdf" ? "file.pdf" : "file";
}

const mediaFields = { mediaType: "media_type", filename: "filename", detail: "detail" } as const;

/** Notes what of a medium the target has no member for. */
export function omit(
  fields: readonly (keyof typeof mediaFields)[],
  media: Media,
  param: string,
  { omissions }: PartTarget,
): void {
  for (const field of fields) if (media[field] !== "") omissions.drop(`${param}.${mediaFields[field]}`);
}
