import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Media, MediaSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readBase64, writeBase64 } from "../base64.ts";
import { asBuffer, textOf } from "../bytes.ts";
import { invalid, unsupported, untranslatable } from "../faults.ts";
import { readFlag, readObject, readText, refuseUnknown, required, requiredObject, requiredText } from "../fields.ts";
import { imageType } from "../image-type.ts";
import type { JsonObject } from "../json.ts";

type MediaInit = MessageInitShape<typeof MediaSchema>;
type Source = NonNullable<MediaInit["source"]>;

// Documents may also be lists of blocks, which no other vendor knows.
const sourceTypes: ReadonlySet<string> = new Set(["base64", "text", "url", "file"]);
const sourceMembers: ReadonlySet<string> = new Set(["type", "media_type", "data", "url", "file_id"]);

/** Reads an `image` block. */
export function readImage(block: JsonObject, param: string): MediaInit {
  refuseTransformations(block["transformations"], `${param}.transformations`);
  const { source, kind, mediaType } = readSource(block["source"], `${param}.source`);
  if (kind === "text") throw invalid("An image cannot be a text.", `${param}.source.type`);
  return { source, mediaType };
}

// Scaling down is what the vendor does unasked; refusing to is what no other vendor can be told.
function refuseTransformations(value: unknown, param: string): void {
  const oversized = readObject(value, param)?.["oversized_image"] ?? "downsize";
  if (oversized !== "downsize") throw untranslatable(`\`${param}\` cannot be translated; leave it out.`, param);
}

/** Reads a `document` block. What it holds beside bytes and a title no other vendor could be told. */
export function readDocument(block: JsonObject, param: string): MediaInit {
  const citations = readObject(block["citations"], `${param}.citations`);
  if (readFlag(citations?.["enabled"], `${param}.citations.enabled`) === true) {
    const path = `${param}.citations.enabled`;
    throw untranslatable(`\`${path}\` cannot be translated; set it to false.`, path);
  }
  if ((readText(block["context"], `${param}.context`) ?? "") !== "") {
    throw untranslatable(`\`${param}.context\` cannot be translated; put it into a text block.`, `${param}.context`);
  }
  const { source, kind, mediaType } = readSource(block["source"], `${param}.source`);
  const filename = readText(block["title"], `${param}.title`) ?? "";
  return { source, mediaType: kind === "url" ? "application/pdf" : mediaType, filename };
}

function readSource(value: unknown, param: string): { source: Source; kind: string; mediaType: string } {
  const members = requiredObject(value, param);
  const kind = requiredText(members["type"], `${param}.type`);
  if (!sourceTypes.has(kind)) {
    throw untranslatable(`\`${param}.type\` must be \`base64\`, \`text\`, \`url\` or \`file\`.`, `${param}.type`);
  }
  refuseUnknown(members, sourceMembers, param);
  switch (kind) {
    case "base64": {
      const mediaType = requiredText(members["media_type"], `${param}.media_type`);
      const data = readBase64(requiredText(members["data"], `${param}.data`));
      if (data === undefined) throw invalid(`\`${param}.data\` must be base64.`, `${param}.data`);
      return { source: { case: "data", value: data }, kind, mediaType };
    }
    case "text": {
      const data = Buffer.from(required(readText(members["data"], `${param}.data`), `${param}.data`));
      return { source: { case: "data", value: data }, kind, mediaType: "text/plain" };
    }
    case "url":
      return { source: { case: "url", value: requiredText(members["url"], `${param}.url`) }, kind, mediaType: "" };
    default: {
      const id = requiredText(members["file_id"], `${param}.file_id`);
      return { source: { case: "fileId", value: id }, kind, mediaType: "" };
    }
  }
}

const imageTypes: ReadonlySet<string> = new Set(["image/jpeg", "image/png", "image/gif", "image/webp"]);

/** Writes an `image` block. @param param the path of the part's content in the canonical request */
export function writeImage(image: Media, param: string): JsonObject {
  if (image.source.case !== "data") return { type: "image", source: writeReference(image, param) };
  const mediaType = image.mediaType === "image/jpg" ? "image/jpeg" : image.mediaType || imageType(image.source.value);
  if (!imageTypes.has(mediaType)) {
    throw unsupported("The target takes JPEG, PNG, GIF and WebP images only.", `${param}.media_type`);
  }
  return { type: "image", source: { type: "base64", media_type: mediaType, data: writeBase64(image.source.value) } };
}

/** Writes a `document` block. @param param the path of the part's content in the canonical request */
export function writeDocument(file: Media, param: string): JsonObject {
  const title = file.filename === "" ? {} : { title: file.filename };
  return { type: "document", source: writeDocumentSource(file, param), ...title };
}

function writeDocumentSource(file: Media, param: string): JsonObject {
  const { source, mediaType } = file;
  if (source.case !== "data") {
    if (source.case === "url" && mediaType !== "" && mediaType !== "application/pdf") {
      throw unsupported("The target fetches PDF files only; send the bytes themselves.", `${param}.url`);
    }
    return writeReference(file, param);
  }
  if (mediaType === "application/pdf" || (mediaType === "" && isPdf(source.value))) {
    return { type: "base64", media_type: "application/pdf", data: writeBase64(source.value) };
  }
  const text = mediaType.startsWith("text/") ? textOf(source.value) : undefined;
  if (text === undefined) {
    throw unsupported("The target takes PDF files and text in UTF-8 only.", `${param}.media_type`);
  }
  return { type: "text", media_type: "text/plain", data: text };
}

function isPdf(data: Uint8Array): boolean {
  return asBuffer(data.subarray(0, 5)).toString("latin1") === "%PDF-";
}

function writeReference({ source }: Media, param: string): JsonObject {
  switch (source.case) {
    case "url":
      return { type: "url", url: source.value };
    case "fileId":
      return { type: "file", file_id: source.value };
    default:
      throw unsupported("A picture or file without content cannot be sent.", param);
  }
}
