import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { isObject, type JsonObject } from "../json.ts";

/** A source for a span of one text of an answer. */
export interface FoundCitation {
  /** Which of the texts, from 0. */
  readonly text: number;
  readonly citation: Citation;
}

/**
 * Reads the sources of `groundingMetadata` and of `citationMetadata`, leniently. Offsets there count bytes of UTF-8.
 * https://ai.google.dev/api/generate-content#GroundingMetadata, https://ai.google.dev/api/generate-content#citationmetadata
 * @param texts the texts of the answer, in order
 */
export function readCitations(grounding: unknown, citations: unknown, texts: readonly string[]): FoundCitation[] {
  const sources = isObject(citations) ? (citations["citationSources"] ?? citations["citations"]) : undefined;
  return [...readSupports(grounding, texts), ...objects(sources).flatMap((source) => readSource(source, texts))];
}

function readSupports(grounding: unknown, texts: readonly string[]): FoundCitation[] {
  if (!isObject(grounding)) return [];
  const chunks: readonly unknown[] = Array.isArray(grounding["groundingChunks"]) ? grounding["groundingChunks"] : [];
  return objects(grounding["groundingSupports"]).flatMap((support) => {
    const indices: readonly unknown[] = Array.isArray(support["groundingChunkIndices"])
      ? support["groundingChunkIndices"]
      : [];
    const segment = isObject(support["segment"]) ? support["segment"] : {};
    const quote = textOf(segment["text"]);
    const place = placeOf(segment, quote, texts);
    return indices.flatMap((index) => {
      const chunk = typeof index === "number" ? chunks[index] : undefined;
      const [source] = isObject(chunk) ? Object.values(chunk).filter(isObject) : [];
      return source === undefined ? [] : [found(place, source, quote)];
    });
  });
}

function readSource(source: JsonObject, texts: readonly string[]): FoundCitation[] {
  return [found(placeOf(source, "", texts), source, "")];
}

interface Place {
  readonly text: number;
  readonly start: number;
  readonly end: number;
}

function found({ text, start, end }: Place, source: JsonObject, quote: string): FoundCitation {
  const { title, uri } = source;
  return {
    text,
    citation: { $typeName: "weir.chat.v1.Citation", start, end, title: textOf(title), url: textOf(uri), quote },
  };
}

/** Where a segment lies: in the text that has its words at its place, else in the first one. */
function placeOf({ startIndex, endIndex }: JsonObject, quote: string, texts: readonly string[]): Place {
  const startByte = typeof startIndex === "number" ? startIndex : 0;
  const endByte = typeof endIndex === "number" ? endIndex : 0;
  const matching = texts.findIndex((text) => quote !== "" && slice(text, startByte, endByte) === quote);
  const text = Math.max(matching, 0);
  const whole = texts[text] ?? "";
  const start = codePoints(slice(whole, 0, startByte));
  return { text, start, end: Math.max(start, codePoints(slice(whole, 0, endByte))) };
}

function slice(text: string, startByte: number, endByte: number): string {
  return Buffer.from(text).toString("utf8", startByte, endByte);
}

/** Writes sources as `groundingMetadata`. @param texts the texts of the answer by their part */
export function writeGrounding(
  citations: readonly { readonly part: number; readonly citation: Citation }[],
  texts: ReadonlyMap<number, string>,
): JsonObject {
  return {
    groundingChunks: citations.map(({ citation: { url, title } }) => ({ web: { uri: url, title } })),
    groundingSupports: citations.map(({ part, citation: { start, end, quote } }, index) => {
      const text = texts.get(part) ?? "";
      const segment = { startIndex: byteOffset(text, start), endIndex: byteOffset(text, end), text: quote };
      return { segment, groundingChunkIndices: [index] };
    }),
  };
}

/** Bytes of UTF-8 before a code point of a text. */
function byteOffset(text: string, codePoint: number): number {
  let at = 0;
  for (let left = codePoint; left > 0 && at < text.length; left -= 1) {
    at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  }
  return Buffer.byteLength(text.slice(0, at));
}

function codePoints(text: string): number {
  let count = text.length;
  for (let at = 0; at < text.length; at += 1) if ((text.charCodeAt(at) & 0xfc00) === 0xd800) count -= 1;
  return count;
}

function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? (value as unknown[]).filter(isObject) : [];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
