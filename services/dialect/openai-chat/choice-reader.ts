import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type ChoiceEnd, type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { readBase64 } from "../base64.ts";
import { noBytes } from "../bytes.ts";
import { isDataUrl, readDataUrl } from "../data-url.ts";
import {
  audioEvent,
  choiceEnd,
  citationEvent,
  imageEvent,
  reasoningEvent,
  refusalEvent,
  textEvent,
  toolCallEvent,
} from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readLogprobs } from "../openai/logprobs.ts";
import { readStopReason } from "../openai/stop-reason.ts";
import { readAnnotation } from "./citations.ts";
import { opaqueBytes } from "./opaque.ts";
import { readReasoningDetail, readReasoningText, type ReasoningDetail } from "./reasoning-details.ts";
import { isTime } from "./reply-start.ts";

/** Reads one choice of an answer: a whole message, or its deltas one after another. */
export interface ChoiceReader {
  /**
   * Appends the events of a message or a delta. A reply has one text, one refusal and one recording; parts are numbered as
   * they appear.
   * @returns whether it could be read; when not, what was appended is of no use
   */
  read(said: JsonObject, logprobs: unknown, out: GenerateEvent[]): boolean;
  /** Takes the `finish_reason`. @param stopSequence vLLM's `stop_reason`, the text that was met; empty when unknown */
  finish(reason: string, stopSequence: string): void;
  /** Whether the choice has ended: by a `finish_reason`, or by sound's time of expiry, after which OpenAI sends none. */
  readonly finished: boolean;
  /** Ends the choice: appends what was held back. Undefined when that cannot be read. */
  end(out: GenerateEvent[]): ChoiceEnd | undefined;
}

interface Call {
  readonly part: number;
  readonly id: string;
}

/** The place of the old `function_call` among calls. */
const functionCallIndex = -1;

const unknownPart = -1;

export function createChoiceReader(choice: number, replyId: string): ChoiceReader {
  const calls = new Map<number, Call>();
  const reasoningParts = new Map<string | number, number>();
  /** Ids of reasoning whose text comes beside `reasoning_details`, and is only repeated there, by key. */
  const begun = new Map<string | number, string>();
  let partCount = 0;
  let textPart = unknownPart;
  let refusalPart = unknownPart;
  let audioPart = unknownPart;
  let lastCallIndex = functionCallIndex;
  let openSound = "";
  let soundEnded = false;
  let reason = "";
  let stopSequence = "";

  const nextPart = (): number => {
    partCount += 1;
    return partCount - 1;
  };

  function read(said: JsonObject, logprobs: unknown, out: GenerateEvent[]): boolean {
    soundEnded = false;
    readReasoning(said, out);
    const probabilities = isObject(logprobs) ? logprobs : undefined;
    if (!readContent(said["content"], probabilities && readLogprobs(probabilities["content"]), out)) return false;
    if (!readRefusal(said["refusal"], probabilities && readLogprobs(probabilities["refusal"]), out)) return false;
    for (const annotation of listOf(said["annotations"])) {
      const citation = readAnnotation(annotation);
      if (citation === undefined) continue;
      if (textPart === unknownPart) textPart = nextPart();
      out.push(citationEvent(choice, textPart, citation));
    }
    return readAudio(said["audio"], out) && readImages(said["images"], out) && readCalls(said, out);
  }

  function readContent(value: unknown, logprobs: TokenLogprob[] | undefined, out: GenerateEvent[]): boolean {
    if (Array.isArray(value)) return readPieces(value, out);
    if (value != null && typeof value !== "string") return false;
    const text = value ?? "";
    if (text === "" && (logprobs === undefined || logprobs.length === 0)) return true;
    if (textPart === unknownPart) textPart = nextPart();
    out.push(textEvent(choice, textPart, text, logprobs));
    return true;
  }

  /** Mistral's models that reason answer with a list: https://docs.mistral.ai/capabilities/reasoning. */
  function readPieces(pieces: readonly unknown[], out: GenerateEvent[]): boolean {
    for (const piece of pieces) {
      if (!isObject(piece)) return false;
      if (piece["type"] === "text") {
        if (!readContent(piece["text"], undefined, out)) return false;
      } else if (piece["type"] === "thinking") {
        for (const thought of listOf(piece["thinking"])) {
          const text = isObject(thought) ? thought["text"] : undefined;
          if (typeof text === "string") appendReasoning(plainReasoning, { text }, out);
        }
      }
    }
    return true;
  }

  function readRefusal(value: unknown, logprobs: TokenLogprob[] | undefined, out: GenerateEvent[]): boolean {
    if (value != null && typeof value !== "string") return false;
    const text = value ?? "";
    if (text === "" && (logprobs === undefined || logprobs.length === 0)) return true;
    if (refusalPart === unknownPart) refusalPart = nextPart();
    out.push(refusalEvent(choice, refusalPart, text, logprobs));
    return true;
  }

  /**
   * OpenRouter says the same text twice, in `reasoning` and in `reasoning_details`, of which the latter also holds proofs.
   * Another Weir says the details at the end, and where each text begins by an entry that has none.
   */
  function readReasoning(said: JsonObject, out: GenerateEvent[]): void {
    const details: ReasoningDetail[] = [];
    for (const entry of listOf(said["reasoning_details"])) {
      const detail = readReasoningDetail(entry);
      if (detail !== undefined) details.push(detail);
    }
    const text = readReasoningText(said);
    const [first, ...others] = details;
    if (text !== "" && first?.key !== undefined && others.length === 0 && isBeginning(first)) {
      const part = reasoningParts.get(first.key) ?? nextPart();
      reasoningParts.set(plainReasoning, part).set(first.key, part);
      begun.set(first.key, first.id);
      appendReasoning(plainReasoning, { text, id: first.id }, out);
      return;
    }
    if (text !== "" && details.every((detail) => detail.text === "")) appendReasoning(plainReasoning, { text }, out);
    for (const detail of details) {
      const key = detail.key ?? detailReasoning;
      const plain = reasoningParts.get(plainReasoning);
      // A proof that comes without text is that of the text beside it.
      const isBeside = detail.text === "" && plain !== undefined && begun.size === 0;
      if (isBeside && !reasoningParts.has(key)) reasoningParts.set(key, plain);
      const id = begun.get(key);
      appendReasoning(key, id === undefined ? detail : { ...detail, text: "", id: id === "" ? detail.id : "" }, out);
      // Without an index, a proof is the only sign that a piece is at its end.
      if (detail.signature.length > 0) reasoningParts.delete(detailReasoning);
    }
  }

  function appendReasoning(key: string | number, delta: Partial<ReasoningDetail>, out: GenerateEvent[]): void {
    let part = reasoningParts.get(key);
    if (part === undefined) reasoningParts.set(key, (part = nextPart()));
    out.push(reasoningEvent(choice, part, delta));
  }

  function readAudio(value: unknown, out: GenerateEvent[]): boolean {
    if (!isObject(value)) return value == null;
    const { id, data, transcript, expires_at: expiresAt } = value;
    if (data != null && typeof data !== "string") return false;
    const bytes = typeof data === "string" ? readSound(data) : noBytes;
    if (bytes === undefined) return false;
    if (audioPart === unknownPart) audioPart = nextPart();
    const expires = isTime(expiresAt);
    soundEnded = expires && typeof data !== "string" && typeof transcript !== "string";
    const delta = {
      ...(typeof id === "string" && { id }),
      data: bytes,
      ...(typeof transcript === "string" && { transcript }),
      ...(expires && { expireTimeMs: expiresAt * 1_000 }),
    };
    out.push(audioEvent(choice, audioPart, delta));
    return true;
  }

  /** Clients join the base64 of all chunks as text, so that one may end between the characters of three bytes. */
  function readSound(data: string): Uint8Array | undefined {
    const text = openSound + data;
    const end = text.endsWith("=") ? text.length : text.length - (text.length % 4);
    openSound = text.slice(end);
    return readBase64(text.slice(0, end));
  }

  /** Pictures that the model made, as OpenRouter has them. */
  function readImages(value: unknown, out: GenerateEvent[]): boolean {
    for (const entry of listOf(value)) {
      const image = isObject(entry) && isObject(entry["image_url"]) ? readImage(entry["image_url"]["url"]) : undefined;
      if (image === undefined) return false;
      out.push(imageEvent(choice, nextPart(), image));
    }
    return true;
  }

  function readCalls(said: JsonObject, out: GenerateEvent[]): boolean {
    for (const entry of listOf(said["tool_calls"])) {
      if (!isObject(entry)) return false;
      const called = entry["function"] ?? entry["custom"] ?? nothing;
      if (!isObject(called)) return false;
      const begins = typeof called["name"] === "string" && called["name"] !== "";
      // A vendor that sends no index sends whole calls, or the pieces of one after another.
      const index = entry["index"] ?? (begins ? calls.size : lastCallIndex);
      if (!Number.isInteger(index) || (index as number) < 0) return false;
      if (!readCall(index as number, entry, called, out)) return false;
    }
    const functionCall = said["function_call"];
    return !isObject(functionCall) || readCall(functionCallIndex, nothing, functionCall, out);
  }

  function readCall(index: number, entry: JsonObject, called: JsonObject, out: GenerateEvent[]): boolean {
    const { name } = called;
    const text = called["arguments"] ?? called["input"] ?? "";
    if (typeof text !== "string") return false;
    const id = typeof entry["id"] === "string" ? entry["id"] : "";
    const signature = readSignature(entry["extra_content"]);
    const known = calls.get(index);
    const named = typeof name === "string" && name !== "";
    // Some vendors number every call 0; a name with another id is another call.
    if (known === undefined || (named && id !== "" && id !== known.id)) {
      if (!named) return false;
      const call = { part: nextPart(), id: id === "" ? madeUpId(replyId, choice, calls.size) : id };
      calls.set(index, call);
      lastCallIndex = index;
      out.push(toolCallEvent(choice, call.part, { id: call.id, name, arguments: text, signature }));
    } else if (text !== "" || signature.length > 0) {
      out.push(toolCallEvent(choice, known.part, { arguments: text, signature }));
    }
    return true;
  }

  return {
    read,
    finish(raw, sequence) {
      reason = raw;
      stopSequence = sequence;
    },
    get finished() {
      return reason !== "" || soundEnded;
    },
    end(out) {
      const data = openSound === "" ? undefined : readBase64(openSound);
      if (data !== undefined) out.push(audioEvent(choice, audioPart, { data }));
      else if (openSound !== "") return undefined;
      if (reason === "" && soundEnded) return choiceEnd(choice, StopReason.END, "");
      const stopped = stopSequence !== "" && reason === "stop";
      const unified = stopped ? StopReason.STOP_SEQUENCE : readStopReason(reason, calls.size > 0);
      return choiceEnd(choice, unified, reason, stopped ? stopSequence : "");
    },
  };
}

const plainReasoning = "plain";
const detailReasoning = "detail";

const nothing: JsonObject = {};

/** Whether an entry says no more than which reasoning begins, or goes on, beside it. */
function isBeginning({ text, signature, sealed }: ReasoningDetail): boolean {
  return text === "" && signature.length === 0 && sealed.length === 0;
}

/** Gemini's thought signature: https://ai.google.dev/gemini-api/docs/thought-signatures. */
function readSignature(extra: unknown): Uint8Array {
  const google = isObject(extra) ? extra["google"] : undefined;
  const signature = isObject(google) ? google["thought_signature"] : undefined;
  return typeof signature === "string" ? opaqueBytes(signature) : noBytes;
}

function readImage(url: unknown): Media | undefined {
  if (typeof url !== "string" || url === "") return undefined;
  const bytes = isDataUrl(url) ? readDataUrl(url) : undefined;
  if (bytes === undefined && isDataUrl(url)) return undefined;
  return {
    $typeName: "weir.chat.v1.Media",
    source: bytes === undefined ? { case: "url", value: url } : { case: "data", value: bytes.data },
    mediaType: bytes?.mediaType ?? "",
    filename: "",
    detail: "",
  };
}

/** An id for a call of a vendor that gave none: the same for the same answer, and no other in the conversation. */
function madeUpId(replyId: string, choice: number, call: number): string {
  return `call_${replyId.replace(/[^\w-]/g, "").slice(-24)}_${choice}_${call}`;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : noItems;
}

const noItems: readonly unknown[] = [];
