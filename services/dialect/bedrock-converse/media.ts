import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Media, MediaSchema, PartSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { writeBase64 } from "../base64.ts";
import { unsupported, untranslatable } from "../faults.ts";
import { memberPath, readText, requiredAnyText, requiredText } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import type { DocumentNames } from "./document-names.ts";
import { audioFormats, documentFormats, imageFormats, videoFormats } from "./formats.ts";
import { readBlob, readExactRecord, readUnion } from "./members.ts";

type MediaInit = MessageInitShape<typeof MediaSchema>;
type PartContent = NonNullable<MessageInitShape<typeof PartSchema>["content"]>;

const mediaMembers = new Set(["format", "source"]);
const documentMembers = new Set(["format", "name", "source", "citations"]);
const citationsMembers = new Set(["enabled"]);
// `bucketOwner` is of account limits that no field holds.
const s3Members = new Set(["uri"]);

/** Reads an `image`, `video` or `audio` block. A video is a file of its media type: the canonical form has no other. */
export function readMedia(kind: "image" | "video" | "audio", value: unknown, param: string): PartContent {
  const block = readExactRecord(value, mediaMembers, param);
  const formats = kind === "image" ? imageFormats : kind === "video" ? videoFormats : audioFormats;
  const mediaType = formats.mediaType(requiredAnyText(block["format"], `${param}.format`));
  if (mediaType === undefined) throw untranslatable(`\`${param}.format\` is not one that is known.`, `${param}.format`);
  const media: MediaInit = { source: readSource(block["source"], `${param}.source`), mediaType };
  return { case: kind === "video" ? "file" : kind, value: media };
}

function readSource(value: unknown, param: string): NonNullable<MediaInit["source"]> {
  const [kind, source] = readUnion(value, param);
  switch (kind) {
    case "bytes":
      return { case: "data", value: readBlob(source, `${param}.bytes`) };
    case "s3Location": {
      const location = readExactRecord(source, s3Members, `${param}.s3Location`);
      return { case: "url", value: requiredText(location["uri"], `${param}.s3Location.uri`) };
    }
    default:
      throw untranslatable(`\`${param}\` must be bytes or an S3 location.`, memberPath(param, kind));
  }
}

/** Reads a `document` block. Its context, its citations and its chunks are Bedrock's own, and are refused. */
export function readDocument(value: unknown, param: string): PartContent {
  const block = readExactRecord(value, documentMembers, param);
  const filename = requiredText(block["name"], `${param}.name`);
  if (block["citations"] != null) {
    const citations = readExactRecord(block["citations"], citationsMembers, `${param}.citations`);
    if (citations["enabled"] !== false) {
      throw untranslatable("Citations of documents cannot be asked for in translation.", `${param}.citations`);
    }
  }
  const format = readText(block["format"], `${param}.format`);
  const mediaType = format === undefined ? "" : documentFormats.mediaType(format);
  if (mediaType === undefined) throw untranslatable(`\`${param}.format\` is not one that is known.`, `${param}.format`);
  const [kind, text] = readUnion(block["source"], `${param}.source`);
  if (kind !== "text") {
    return { case: "file", value: { source: readSource(block["source"], `${param}.source`), mediaType, filename } };
  }
  const data = Buffer.from(requiredAnyText(text, `${param}.source.text`));
  const textType = mediaType === "" ? "text/plain" : mediaType;
  return { case: "file", value: { source: { case: "data", value: data }, mediaType: textType, filename } };
}

/** Writes a picture or sound. @param param the path of the part's content in the canonical request */
export function writeMedia(kind: "image" | "audio", media: Media, param: string): JsonObject {
  const format = (kind === "image" ? imageFormats : audioFormats).format(media.mediaType);
  if (format === undefined) {
    const wanted = kind === "image" ? "PNG, JPEG, GIF or WebP" : "a sound format that it knows";
    throw unsupported(`Bedrock takes ${wanted}, with its media type.`, `${param}.media_type`);
  }
  return { [kind]: { format, source: writeSource(media, param) } };
}

/** Writes a file: a document, or a video when its media type says so. */
export function writeFile(media: Media, names: DocumentNames, param: string): JsonObject {
  const source = writeSource(media, param);
  const video = videoFormats.format(media.mediaType);
  if (video !== undefined) return { video: { format: video, source } };
  const format = documentFormats.format(media.mediaType);
  if (format === undefined && media.mediaType !== "") {
    throw unsupported("Bedrock takes no documents of this media type.", `${param}.media_type`);
  }
  return { document: { ...(format === undefined ? {} : { format }), name: names.next(media.filename), source } };
}

function writeSource({ source }: Media, param: string): JsonObject {
  switch (source.case) {
    case "data":
      return { bytes: writeBase64(source.value) };
    case "url":
      if (source.value.startsWith("s3://")) return { s3Location: { uri: source.value } };
      throw unsupported("Bedrock fetches nothing but from S3; send the bytes themselves.", `${param}.url`);
    case "fileId":
    case undefined:
      throw unsupported("Bedrock stores no files; send the bytes themselves.", `${param}.file_id`);
  }
}
