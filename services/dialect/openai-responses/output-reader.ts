import { create } from "@bufbuild/protobuf";
import { MediaSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { GenerateEvent, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { citationEvent, imageEvent, reasoningEvent, refusalEvent, textEvent, toolCallEvent } from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readAnnotation } from "./citation.ts";
import { joinSections, sectionBreak } from "./input-reader.ts";
import { readLogprobs } from "./logprobs.ts";
import { imageType } from "./media.ts";
import { readReasoningId, readSealed } from "./sealed.ts";

/**
 * Turns output items into events, piece by piece or whole. Every piece of reading returns whether it fits what came
 * before. Items of unknown types, and pieces of them, are passed over.
 */
export interface OutputReader {
  /** An item begins. */
  add(index: unknown, item: unknown, out: GenerateEvent[]): boolean;
  /** A part of a message begins. */
  addContent(index: unknown, contentIndex: unknown, part: unknown): boolean;
  /** More of a text or a refusal. */
  appendContent(index: unknown, contentIndex: unknown, piece: ContentPiece, out: GenerateEvent[]): boolean;
  /** A source for a text. */
  annotate(index: unknown, contentIndex: unknown, annotation: unknown, out: GenerateEvent[]): boolean;
  /** More of an item's reasoning: of a section of its `summary`, or of its `content`. */
  appendReasoning(index: unknown, piece: ReasoningPiece, out: GenerateEvent[]): boolean;
  /** More of a call's arguments. */
  appendArguments(index: unknown, delta: unknown, out: GenerateEvent[]): boolean;
  /** Arguments as a whole: what the pieces lacked is added. */
  settleArguments(index: unknown, whole: unknown, out: GenerateEvent[]): boolean;
  /** An item as a whole: what its pieces lacked is added. An item that never began is read from here. */
  settle(index: unknown, item: unknown, out: GenerateEvent[]): boolean;
  /** Whether there was any item. */
  readonly hasItems: boolean;
  /** Whether the model called a tool of the caller's. */
  readonly hasToolCalls: boolean;
}

interface ContentPiece {
  readonly kind: "output_text" | "refusal";
  readonly text: unknown;
  readonly logprobs: unknown;
}

interface ReasoningPiece {
  readonly kind: "summary" | "content";
  readonly section: unknown;
  readonly text: unknown;
}

interface Content {
  readonly kind: "output_text" | "refusal" | "other";
  /** Of the canonical reply; -1 while nothing was said. */
  part: number;
  text: string;
  annotations: number;
}

interface MessageState {
  readonly kind: "message";
  readonly contents: (Content | undefined)[];
}

interface ReasoningState {
  readonly kind: "reasoning";
  readonly id: string;
  part: number;
  text: string;
  /** Which of the two is read: the one that came first. */
  source: "summary" | "content" | undefined;
  section: unknown;
}

interface CallState {
  readonly kind: "call";
  readonly part: number;
  text: string;
}

type ItemState = MessageState | ReasoningState | CallState | { readonly kind: "other" };

/** More output items than this, or parts of one message, are not followed. */
const indexMax = 100_000;

const noBytes: Uint8Array = new Uint8Array(0);

export function createOutputReader(): OutputReader {
  const items = new Map<number, ItemState>();
  const callParts = new Map<string, number>();
  const callSignatures = new Map<string, Uint8Array>();
  let parts = 0;
  const reader = {
    add,
    addContent,
    appendContent,
    annotate,
    appendReasoning,
    appendArguments,
    settleArguments,
    settle,
    hasItems: false,
    hasToolCalls: false,
  };

  function add(index: unknown, item: unknown, out: GenerateEvent[]): boolean {
    return !items.has(index as number) && begin(index, item, out) !== undefined;
  }

  function begin(index: unknown, item: unknown, out: GenerateEvent[]): ItemState | undefined {
    if (!isIndex(index) || !isObject(item)) return undefined;
    const state = createState(item, out);
    items.set(index, state);
    reader.hasItems = true;
    return state;
  }

  function createState(item: JsonObject, out: GenerateEvent[]): ItemState {
    switch (item["type"]) {
      case "message":
        return { kind: "message", contents: [] };
      case "reasoning":
        return {
          kind: "reasoning",
          id: readReasoningId(item["id"]),
          part: -1,
          text: "",
          source: undefined,
          section: 0,
        };
      case "function_call":
      case "custom_tool_call": {
        const state: CallState = { kind: "call", part: parts++, text: "" };
        reader.hasToolCalls = true;
        const id = asText(item["call_id"]);
        const signature = callSignatures.get(id) ?? noBytes;
        callParts.set(id, state.part);
        out.push(toolCallEvent(0, state.part, { id, name: asText(item["name"]), signature }));
        return state;
      }
      default:
        return { kind: "other" };
    }
  }

  function addContent(index: unknown, contentIndex: unknown, part: unknown): boolean {
    const state = items.get(index as number);
    if (state?.kind !== "message") return state !== undefined;
    return isIndex(contentIndex) && contentAt(state, contentIndex, part) !== undefined;
  }

  /** The content at an index, begun if it is new; undefined when it is of another kind than before. */
  function contentAt({ contents }: MessageState, index: number, part: unknown): Content | undefined {
    const kind = isObject(part) ? contentKind(part["type"]) : "other";
    contents[index] ??= { kind, part: -1, text: "", annotations: 0 };
    return contents[index].kind === kind ? contents[index] : undefined;
  }

  function appendContent(index: unknown, contentIndex: unknown, piece: ContentPiece, out: GenerateEvent[]): boolean {
    const state = items.get(index as number);
    if (state?.kind === "other") return true;
    const content = state?.kind === "message" ? state.contents[contentIndex as number] : undefined;
    if (content?.kind !== piece.kind || typeof piece.text !== "string") return false;
    say(content, piece.text, readLogprobs(piece.logprobs), out);
    return true;
  }

  function say(content: Content, text: string, logprobs: TokenLogprob[], out: GenerateEvent[]): void {
    if (text === "" && logprobs.length === 0) return;
    content.text += text;
    if (content.part < 0) content.part = parts++;
    out.push((content.kind === "refusal" ? refusalEvent : textEvent)(0, content.part, text, logprobs));
  }

  function annotate(index: unknown, contentIndex: unknown, annotation: unknown, out: GenerateEvent[]): boolean {
    const state = items.get(index as number);
    if (state?.kind === "other") return true;
    const content = state?.kind === "message" ? state.contents[contentIndex as number] : undefined;
    if (content?.kind !== "output_text") return false;
    cite(content, annotation, out);
    return true;
  }

  function cite(content: Content, annotation: unknown, out: GenerateEvent[]): void {
    content.annotations += 1;
    const citation = readAnnotation(annotation);
    if (citation === undefined) return;
    if (content.part < 0) content.part = parts++;
    out.push(citationEvent(0, content.part, citation));
  }

  function appendReasoning(index: unknown, piece: ReasoningPiece, out: GenerateEvent[]): boolean {
    const state = items.get(index as number);
    if (state?.kind !== "reasoning") return state?.kind === "other";
    if (typeof piece.text !== "string") return false;
    state.source ??= piece.kind;
    if (state.source !== piece.kind || piece.text === "") return true;
    const isNext = state.text !== "" && piece.section !== state.section;
    state.section = piece.section;
    think(state, isNext ? sectionBreak + piece.text : piece.text, out);
    return true;
  }

  function think(state: ReasoningState, text: string, out: GenerateEvent[]): void {
    state.text += text;
    pushReasoning(state, { text }, out);
  }

  /** Only the first event of an item names it. */
  function pushReasoning(
    state: ReasoningState,
    delta: Parameters<typeof reasoningEvent>[2],
    out: GenerateEvent[],
  ): void {
    const first = state.part < 0;
    if (first) state.part = parts++;
    out.push(reasoningEvent(0, state.part, first ? { ...delta, id: state.id } : delta));
  }

  function appendArguments(index: unknown, delta: unknown, out: GenerateEvent[]): boolean {
    const state = items.get(index as number);
    if (state?.kind !== "call") return state?.kind === "other";
    if (typeof delta !== "string") return false;
    if (delta === "") return true;
    state.text += delta;
    out.push(toolCallEvent(0, state.part, { arguments: delta }));
    return true;
  }

  function settleArguments(index: unknown, whole: unknown, out: GenerateEvent[]): boolean {
    const state = items.get(index as number);
    if (state?.kind !== "call") return state?.kind === "other";
    if (typeof whole !== "string") return true;
    return whole.startsWith(state.text) && appendArguments(index, whole.slice(state.text.length), out);
  }

  function settle(index: unknown, item: unknown, out: GenerateEvent[]): boolean {
    const state = items.get(index as number) ?? begin(index, item, out);
    if (state === undefined || !isObject(item)) return false;
    switch (state.kind) {
      case "message":
        return settleMessage(state, item, out);
      case "reasoning":
        settleReasoning(state, item, out);
        return true;
      case "call":
        return settleArguments(index, item["arguments"] ?? item["input"], out);
      case "other":
        settleImage(item, out);
        return true;
    }
  }

  function settleMessage(state: MessageState, item: JsonObject, out: GenerateEvent[]): boolean {
    const list = item["content"];
    for (const [index, part] of (Array.isArray(list) ? (list as readonly unknown[]) : []).entries()) {
      const content = contentAt(state, index, part);
      if (content === undefined) return false;
      if (content.kind === "other" || !isObject(part)) continue;
      const whole = part[content.kind === "refusal" ? "refusal" : "text"];
      if (typeof whole === "string" && whole.startsWith(content.text)) {
        const logprobs = content.text === "" ? readLogprobs(part["logprobs"]) : [];
        say(content, whole.slice(content.text.length), logprobs, out);
      }
      const annotations = part["annotations"];
      if (!Array.isArray(annotations)) continue;
      for (const annotation of annotations.slice(content.annotations) as unknown[]) cite(content, annotation, out);
    }
    return true;
  }

  function settleReasoning(state: ReasoningState, item: JsonObject, out: GenerateEvent[]): void {
    const content = sections(item["content"]);
    const summary = sections(item["summary"]);
    const source = state.source ?? (content === "" ? "summary" : "content");
    const whole = source === "content" ? content : summary;
    if (whole.length > state.text.length && whole.startsWith(state.text)) {
      think(state, whole.slice(state.text.length), out);
    }
    const encrypted = item["encrypted_content"];
    const { signature, sealed, callId } = readSealed(typeof encrypted === "string" ? encrypted : "");
    if (callId !== "") signCall(callId, signature, out);
    const own = callId === "" ? signature : noBytes;
    const silent = state.part < 0 && callId === "";
    if (own.length > 0 || sealed.length > 0 || silent) pushReasoning(state, { signature: own, sealed }, out);
  }

  /** A call that has not begun yet gets its signature when it does. */
  function signCall(callId: string, signature: Uint8Array, out: GenerateEvent[]): void {
    const part = callParts.get(callId);
    if (part === undefined) callSignatures.set(callId, signature);
    else out.push(toolCallEvent(0, part, { signature }));
  }

  function settleImage(item: JsonObject, out: GenerateEvent[]): void {
    const { type, result } = item;
    if (type !== "image_generation_call" || typeof result !== "string" || result === "") return;
    const value = Buffer.from(result, "base64");
    const image = create(MediaSchema, { source: { case: "data", value }, mediaType: imageType(value) });
    out.push(imageEvent(0, parts++, image));
  }

  return reader;
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < indexMax;
}

function contentKind(type: unknown): Content["kind"] {
  return type === "output_text" || type === "refusal" ? type : "other";
}

function sections(value: unknown): string {
  if (!Array.isArray(value)) return "";
  return joinSections((value as readonly unknown[]).map((part) => (isObject(part) ? asText(part["text"]) : "")));
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}
