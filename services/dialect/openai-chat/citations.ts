import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { isObject, type JsonObject } from "../json.ts";

/**
 * Reads an entry of `annotations`; undefined when it is no `url_citation`. OpenAI's text calls `end_index` the last
 * character, its answers hold the one after it, which is what is taken here.
 */
export function readAnnotation(entry: unknown): Citation | undefined {
  const citation = isObject(entry) && entry["type"] === "url_citation" ? entry["url_citation"] : undefined;
  if (!isObject(citation)) return undefined;
  return {
    $typeName: "weir.chat.v1.Citation",
    start: offsetOf(citation["start_index"]),
    end: offsetOf(citation["end_index"]),
    title: textOf(citation["title"]),
    url: textOf(citation["url"]),
    quote: textOf(citation["content"]),
  };
}

/**
 * Writes a citation as an entry of `annotations`; undefined when it has no address, without which clients know none.
 * The words cited go to `content`, where OpenRouter has them: https://openrouter.ai/docs/guides/features/plugins/web-search
 * @param offset characters of the message before the text part that the citation belongs to
 */
export function writeAnnotation(citation: Citation, offset: number): JsonObject | undefined {
  if (citation.url === "") return undefined;
  const { start, end, title, url, quote } = citation;
  const span = { start_index: start + offset, end_index: end + offset };
  return { type: "url_citation", url_citation: { ...span, title, url, ...(quote === "" ? {} : { content: quote }) } };
}

/** How many characters a text has: Unicode code points. */
export function characterCount(text: string): number {
  let count = text.length;
  for (let at = 1; at < text.length; at += 1) {
    if (isLow(text.charCodeAt(at)) && isHigh(text.charCodeAt(at - 1))) count -= 1;
  }
  return count;
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

function offsetOf(value: unknown): number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff ? (value as number) : 0;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
