import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { isObject, type JsonObject } from "../json.ts";
import { isHoldable } from "../struct.ts";

const locationTypes: ReadonlySet<unknown> = new Set([
  "char_location",
  "page_location",
  "content_block_location",
  "web_search_result_location",
  "search_result_location",
]);

/**
 * Reads a citation, leniently. The vendor cites for a whole block of text, so that the span is all of it; its record is kept
 * as `details`.
 * @param end the length of the block's text in code points
 */
export function readCitation(json: JsonObject, end: number): Citation {
  const citation: Citation = {
    $typeName: "weir.chat.v1.Citation",
    start: 0,
    end,
    title: asText(json["title"] ?? json["document_title"]),
    url: asText(json["url"] ?? json["source"]),
    quote: asText(json["cited_text"]),
  };
  if (isHoldable(json)) citation.details = json;
  return citation;
}

/** The vendor's own record of a citation; undefined when it comes from another vendor. */
export function ownCitation({ details }: Citation): JsonObject | undefined {
  return isObject(details) && locationTypes.has(details["type"]) ? details : undefined;
}

/** Writes a citation for a client. One of another vendor becomes a search result, without what only Claude could read. */
export function writeCitation(citation: Citation): JsonObject {
  const own = ownCitation(citation);
  if (own !== undefined) return own;
  const { quote, title, url } = citation;
  return { type: "web_search_result_location", cited_text: quote, encrypted_index: "", title: title || null, url };
}

/** Unicode code points of a text. A pair of surrogates that is cut between two texts counts once, in the second. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let at = 0; at < text.length; at += 1) if ((text.charCodeAt(at) & 0xfc00) === 0xd800) count -= 1;
  return count;
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}
