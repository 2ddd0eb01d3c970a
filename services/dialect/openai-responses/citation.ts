import type { JsonObject as StructJson } from "@bufbuild/protobuf";
import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { isObject, type JsonObject } from "../json.ts";

/** Annotations other than of web pages are kept whole in `details`; these are their members beside `type`. */
const documentMembers: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["file_citation", ["file_id", "filename", "index"]],
  ["container_file_citation", ["container_id", "file_id", "filename", "start_index", "end_index"]],
  ["file_path", ["file_id", "index"]],
]);

/** Reads an annotation of a text; undefined when it is of no known kind. */
export function readAnnotation(json: unknown): Citation | undefined {
  if (!isObject(json)) return undefined;
  if (json["type"] === "url_citation") {
    return citation(count(json["start_index"]), count(json["end_index"]), text(json["title"]), text(json["url"]));
  }
  const members = documentMembers.get(json["type"]);
  if (members === undefined) return undefined;
  const start = count(json["start_index"] ?? json["index"]);
  const details: StructJson = { type: text(json["type"]) };
  for (const name of members) {
    details[name] = name.endsWith("index") ? count(json[name]) : text(json[name]);
  }
  return { ...citation(start, count(json["end_index"] ?? start), text(json["filename"]), ""), details };
}

/**
 * Writes an annotation. A source that is neither a web page nor one of this dialect's own files becomes a `file_citation`
 * with its title as the file's name.
 */
export function writeAnnotation(source: Citation): JsonObject {
  const { details, start, end, title, url } = source;
  if (details !== undefined && documentMembers.has(details["type"])) return details;
  if (url !== "") return { type: "url_citation", start_index: start, end_index: end, title, url };
  return { type: "file_citation", file_id: "", filename: title, index: end };
}

function citation(start: number, end: number, title: string, url: string): Citation {
  return { $typeName: "weir.chat.v1.Citation", start, end, title, url, quote: "" };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff ? (value as number) : 0;
}
