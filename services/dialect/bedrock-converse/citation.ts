import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { isObject, type JsonObject, writeJson } from "../json.ts";
import { parseJson } from "../parse-json.ts";

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CitationLocation.html
const locations = ["web", "documentChar", "documentPage", "documentChunk", "searchResultLocation"] as const;

/**
 * Reads a citation, leniently. Bedrock cites for a whole block, so that the span is all of it.
 * @param end the length of the block's text in code points
 */
export function readCitation(json: JsonObject, end: number): Citation {
  const { title, source, location } = json;
  const quotes = readQuotes(json["sourceContent"]);
  const web = isObject(location) && isObject(location["web"]) ? location["web"] : undefined;
  const url = web?.["url"] ?? (typeof source === "string" && /^https?:\/\//.test(source) ? source : undefined);
  const citation: Citation = {
    $typeName: "weir.chat.v1.Citation",
    start: 0,
    end,
    title: typeof title === "string" ? title : "",
    url: typeof url === "string" ? url : "",
    quote: quotes.join(""),
  };
  const details: Record<string, unknown> = {};
  if (typeof source === "string") details["source"] = source;
  if (isObject(location) && !isPlainWeb(location, web)) details["location"] = location;
  if (quotes.length > 1) details["sourceContent"] = quotes.map((text) => ({ text }));
  if (Object.keys(details).length > 0) citation.details = asStruct(details);
  return citation;
}

/** Whether a location says no more than the URL that the citation holds. */
function isPlainWeb(location: JsonObject, web: JsonObject | undefined): boolean {
  return web !== undefined && Object.keys(location).length === 1 && Object.keys(web).join() === "url";
}

function readQuotes(sourceContent: unknown): readonly string[] {
  if (!Array.isArray(sourceContent)) return [];
  return sourceContent.flatMap((content: unknown) => {
    const text = isObject(content) ? content["text"] : undefined;
    return typeof text === "string" ? [text] : [];
  });
}

/** The block for a text: Converse has one of its own for text with sources, which stand for all of it. */
export function writeText({
  text,
  citations,
}: {
  readonly text: string;
  readonly citations: readonly Citation[];
}): JsonObject {
  if (citations.length === 0) return { text };
  return { citationsContent: { content: [{ text }], citations: citations.map(writeCitation) } };
}

/** Writes a citation. Of another vendor's record only what has a member here is written. */
export function writeCitation({ title, url, quote, details = {} }: Citation): JsonObject {
  const { source, sourceContent } = details;
  const location = readLocation(details["location"]) ?? (url === "" ? undefined : { web: { url } });
  const json: Record<string, unknown> = {};
  if (title !== "") json["title"] = title;
  if (typeof source === "string") json["source"] = source;
  const quotes = readQuotes(sourceContent);
  if (quotes.join("") === quote && quotes.length > 1) json["sourceContent"] = quotes.map((text) => ({ text }));
  else if (quote !== "") json["sourceContent"] = [{ text: quote }];
  if (location !== undefined) json["location"] = location;
  return json;
}

function readLocation(value: unknown): JsonObject | undefined {
  if (!isObject(value)) return undefined;
  const kind = locations.find((name) => isObject(value[name]));
  return kind === undefined ? undefined : { [kind]: value[kind] };
}

/** Text in code points, which is how spans are counted. */
export function codePoints(text: string): number {
  let count = text.length;
  // A text may be cut between two halves of a pair; counting one of the two counts the pair once in any case.
  for (let at = 0; at < text.length; at += 1) if ((text.charCodeAt(at) & 0xfc00) === 0xdc00) count -= 1;
  return count;
}

/** A record for a protobuf Struct, in which every number is a double. */
export function asStruct(value: JsonObject): Struct {
  return parseJson(writeJson(value)) as Struct;
}
