import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readBase64 } from "../base64.ts";
import { asBuffer } from "../bytes.ts";
import { invalid, unsupported } from "../faults.ts";
import { readText, required, requiredObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { knownMembers, memberNames } from "./members.ts";
import { isStoredAtGemini } from "./stored-file.ts";

/** The kind of canonical part that media of a type become. Video and documents are files. */
export function mediaKind(mediaType: string): "image" | "audio" | "file" {
  if (mediaType.startsWith("image/")) return "image";
  return mediaType.startsWith("audio/") ? "audio" : "file";
}

const blobNames = memberNames("data mimeType displayName");
const fileNames = memberNames("fileUri mimeType displayName");

/** Reads `inlineData`. */
export function readInlineData(value: unknown, param: string): Media {
  const blob = knownMembers(requiredObject(value, param), blobNames, param);
  const bytes = readBase64(required(readText(blob["data"], `${param}.data`), `${param}.data`));
  if (bytes === undefined) throw invalid(`\`${param}.data\` must be base64.`, `${param}.data`);
  return media({ case: "data", value: bytes }, blob, param);
}

/** Reads `fileData`. */
export function readFileData(value: unknown, param: string): Media {
  const file = knownMembers(requiredObject(value, param), fileNames, param);
  const uri = required(readText(file["fileUri"], `${param}.fileUri`), `${param}.fileUri`);
  return media(sourceOf(uri), file, param);
}

function media(source: Media["source"], members: JsonObject, param: string): Media {
  return mediaOf(
    source,
    readText(members["mimeType"], `${param}.mimeType`),
    readText(members["displayName"], `${param}.displayName`),
  );
}

/** Media of an answer, read leniently; undefined when they are of no known form. */
export function readAnswerMedia(part: JsonObject): Media | undefined {
  const blob = part["inlineData"] as JsonObject | undefined;
  const file = part["fileData"] as JsonObject | undefined;
  const { mimeType, displayName } = blob ?? file ?? {};
  const bytes = typeof blob?.["data"] === "string" ? readBase64(blob["data"]) : undefined;
  if (bytes !== undefined) return mediaOf({ case: "data", value: bytes }, mimeType, displayName);
  const uri = file?.["fileUri"];
  return typeof uri === "string" ? mediaOf(sourceOf(uri), mimeType, displayName) : undefined;
}

function mediaOf(source: Media["source"], mediaType: unknown, filename: unknown): Media {
  return {
    $typeName: "weir.chat.v1.Media",
    source,
    mediaType: typeof mediaType === "string" ? mediaType : "",
    filename: typeof filename === "string" ? filename : "",
    detail: "",
  };
}

/** A file that was uploaded to the Gemini API, which nobody else can fetch: https://ai.google.dev/api/files */
const storedFile = /^https:\/\/generativelanguage\.googleapis\.com\/\w+\/files\//;

function sourceOf(uri: string): Media["source"] {
  return storedFile.test(uri) ? { case: "fileId", value: uri } : { case: "url", value: uri };
}

/**
 * Writes media as `inlineData` or `fileData`, without `detail`.
 * @param param a path of the canonical request
 * @throws WeirError TARGET_UNSUPPORTED
 */
export function writeMedia({ source, mediaType, filename }: Media, param: string): JsonObject {
  const displayName = filename === "" ? {} : { displayName: filename };
  switch (source.case) {
    case "data":
      if (mediaType === "") {
        throw unsupported("Gemini must be told the type of embedded media; name it.", `${param}.media_type`);
      }
      return { inlineData: { mimeType: mediaType, data: asBuffer(source.value).toString("base64"), ...displayName } };
    case "url":
      if (isStoredAtGemini(source.value)) {
        throw unsupported("The address leads to a file that Gemini keeps; send the file itself.", `${param}.url`);
      }
      return {
        fileData: { fileUri: source.value, ...mimeTypeOf(mediaType || guessType(source.value)), ...displayName },
      };
    case "fileId":
      if (!storedFile.test(source.value)) {
        throw unsupported("The file is not stored at Gemini; send it itself, or its address.", `${param}.file_id`);
      }
      return { fileData: { fileUri: source.value, ...mimeTypeOf(mediaType), ...displayName } };
    default:
      throw unsupported("The media have neither bytes nor an address.", param);
  }
}

function mimeTypeOf(mediaType: string): JsonObject {
  return mediaType === "" ? {} : { mimeType: mediaType };
}

// Vertex AI demands a type, and clients of other dialects send pictures by their address alone.
// https://ai.google.dev/gemini-api/docs/image-understanding, .../audio, .../video-understanding, .../document-processing
const typesByEnding: ReadonlyMap<string, string> = new Map([
  ["png", "image/png"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["webp", "image/webp"],
  ["gif", "image/gif"],
  ["heic", "image/heic"],
  ["heif", "image/heif"],
  ["pdf", "application/pdf"],
  ["txt", "text/plain"],
  ["wav", "audio/wav"],
  ["mp3", "audio/mp3"],
  ["flac", "audio/flac"],
  ["ogg", "audio/ogg"],
  ["mp4", "video/mp4"],
  ["mov", "video/mov"],
  ["webm", "video/webm"],
]);

function guessType(url: string): string {
  const ending = /\.(\w{3,4})(?:[?#]|$)/.exec(url)?.[1];
  return ending === undefined ? "" : (typesByEnding.get(ending.toLowerCase()) ?? "");
}
