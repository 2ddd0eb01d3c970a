import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { noBytes } from "../bytes.ts";
import { audioEvent, imageEvent, reasoningEvent, textEvent, toolCallEvent } from "../events.ts";
import { isJsonObject } from "../fields.ts";
import { isObject, type JsonObject, writeJson } from "../json.ts";
import { readLogprobs } from "./logprobs.ts";
import { mediaKind, readAnswerMedia } from "./media.ts";
import { createPartialArgs, type PartialArgs } from "./partial-args.ts";
import { markOwn, type Proof, readProof } from "./signature.ts";

/** Reads one candidate of an answer, piece by piece. */
export interface CandidateReader {
  /**
   * Takes the candidate of one frame, or of a whole answer, and appends its events.
   * @returns false when it is malformed; nothing more may be read then
   */
  read(candidate: JsonObject, out: GenerateEvent[]): boolean;
  /** Appends what was held back: the end of a call that never was said to end. */
  finish(out: GenerateEvent[]): void;
  /** Gemini's word for why it ended; empty when it has not. */
  readonly finishReason: string;
  readonly hasCalls: boolean;
  /** Members that no canonical field holds; of those that come again the last one stands. */
  readonly details: JsonObject;
  /** The texts so far, by their part. */
  readonly texts: ReadonlyMap<number, string>;
}

/** A call whose arguments come in pieces. */
interface OpenCall {
  readonly part: number;
  readonly args: PartialArgs;
}

/** Members of a candidate that are read here, or say nothing. */
const ownMembers: ReadonlySet<string> = new Set(["content", "finishReason", "index", "logprobsResult"]);

/** @param callId makes the id of a call that has none. @param call how many calls came before it */
export function createCandidateReader(choice: number, callId: (call: number) => string): CandidateReader {
  const texts = new Map<number, string>();
  let details: JsonObject = {};
  let finishReason = "";
  let nextPart = 0;
  let calls = 0;
  // The part that the next piece may continue, when it is of the same kind.
  let openKind: "text" | "thought" | "audio" | "" = "";
  let openCall: OpenCall | undefined;

  function read(candidate: JsonObject, out: GenerateEvent[]): boolean {
    const { content, logprobsResult } = candidate;
    const from = out.length;
    if (content != null && !readContent(content, out)) return false;
    if (logprobsResult != null) addLogprobs(logprobsResult, from, out);
    for (const name of Object.keys(candidate)) {
      if (!ownMembers.has(name)) details = { ...details, [name]: candidate[name] };
    }
    const reason = candidate["finishReason"];
    if (typeof reason === "string" && reason !== "FINISH_REASON_UNSPECIFIED") finishReason = reason || finishReason;
    return true;
  }

  function readContent(content: unknown, out: GenerateEvent[]): boolean {
    if (!isObject(content)) return false;
    const { parts } = content;
    if (parts == null) return true;
    if (!Array.isArray(parts)) return false;
    for (let index = 0; index < parts.length; index += 1) {
      const part: unknown = parts[index];
      if (index > 0) openKind = ""; // parts that come together are apart; only the first one continues
      if (!isObject(part) || !readPart(part, out)) return false;
    }
    return true;
  }

  function readPart(part: JsonObject, out: GenerateEvent[]): boolean {
    const { text, thoughtSignature } = part;
    if (text != null && typeof text !== "string") return false;
    if (part["functionCall"] != null) return readCall(part, out);
    const isThought = part["thought"] === true;
    const proof = readProof(typeof thoughtSignature === "string" ? thoughtSignature : undefined);
    if (text != null || !hasData(part)) {
      if (isThought) addThought(text ?? "", proof, out);
      else {
        if (text != null && text !== "") addText(text, out);
        if (isProven(proof)) addWhole(proof, out);
      }
      return true;
    }
    if (isThought || !addMedia(part, out)) addWhole({ sealed: markOwn(writeJson(part)) }, out);
    else if (isProven(proof)) addWhole(proof, out);
    return true;
  }

  function begin(kind: typeof openKind): number {
    if (kind === "" || openKind !== kind) nextPart += 1;
    openKind = kind;
    return nextPart - 1;
  }

  function addText(text: string, out: GenerateEvent[]): void {
    const part = begin("text");
    texts.set(part, (texts.get(part) ?? "") + text);
    out.push(textEvent(choice, part, text));
  }

  function addThought(text: string, proof: Proof, out: GenerateEvent[]): void {
    if (text === "" && !isProven(proof)) return;
    out.push(reasoningEvent(choice, begin("thought"), { text, ...proof }));
    if (isProven(proof)) openKind = ""; // it stands for the text before it, so that what follows is another thought
  }

  /** Adds reasoning without text. */
  function addWhole(reasoning: Partial<Proof>, out: GenerateEvent[]): void {
    out.push(reasoningEvent(choice, begin(""), reasoning));
  }

  /** Adds a picture or sound. @returns false when the part is neither */
  function addMedia(part: JsonObject, out: GenerateEvent[]): boolean {
    const media = readAnswerMedia(part);
    const kind = media === undefined ? undefined : mediaKind(media.mediaType);
    if (media !== undefined && kind === "image") {
      out.push(imageEvent(choice, begin(""), media));
      return true;
    }
    const transcription = part["audioTranscription"];
    const text = isObject(transcription) ? transcription["text"] : undefined;
    const transcript = typeof text === "string" ? { transcript: text } : undefined;
    const isSound = kind === "audio" && media?.source.case === "data";
    if (!isSound && (media !== undefined || transcript === undefined)) return false;
    const sound = isSound && media.source.case === "data" ? { data: media.source.value } : {};
    out.push(audioEvent(choice, begin("audio"), { ...sound, ...transcript }));
    return true;
  }

  /** Reads a call, whole or in pieces: Vertex AI says that more is to come, and ends with one that is empty. */
  function readCall(part: JsonObject, out: GenerateEvent[]): boolean {
    const call = part["functionCall"];
    if (!isObject(call)) return false;
    const { id, name, args, partialArgs, willContinue } = call;
    const { thoughtSignature } = part;
    const signature = typeof thoughtSignature === "string" ? readProof(thoughtSignature).signature : noBytes;
    if (typeof name === "string" && name !== "") {
      finish(out);
      const isPartial = willContinue === true || partialArgs != null;
      if (!isPartial && args != null && !isJsonObject(args)) return false;
      const at = begin("");
      out.push(
        toolCallEvent(choice, at, {
          id: typeof id === "string" && id !== "" ? id : callId(calls),
          name,
          arguments: isPartial ? "" : writeJson(args ?? {}),
          signature,
        }),
      );
      calls += 1;
      if (!isPartial) return true;
      openCall = { part: at, args: createPartialArgs() };
    } else if (openCall === undefined) return false;
    else if (signature.length > 0) out.push(toolCallEvent(choice, openCall.part, { signature }));
    for (const piece of Array.isArray(partialArgs) ? (partialArgs as unknown[]) : []) {
      if (!openCall.args.add(piece)) return false;
    }
    if (willContinue !== true) finish(out);
    return true;
  }

  function finish(out: GenerateEvent[]): void {
    if (openCall === undefined) return;
    out.push(toolCallEvent(choice, openCall.part, { arguments: openCall.args.json() }));
    openCall = undefined;
  }

  /** Gives the probabilities of a frame to its first piece of text, since Gemini counts no others. */
  function addLogprobs(json: unknown, from: number, out: GenerateEvent[]): void {
    const logprobs = readLogprobs(json);
    if (logprobs.length === 0) return;
    for (let at = from; at < out.length; at += 1) {
      const kind = out[at]?.kind;
      if (kind?.case !== "delta" || kind.value.content.case !== "text") continue;
      kind.value.logprobs = logprobs;
      return;
    }
    out.push(textEvent(choice, begin("text"), "", logprobs));
  }

  return {
    read,
    finish,
    texts,
    get finishReason() {
      return finishReason;
    },
    get hasCalls() {
      return calls > 0;
    },
    get details() {
      return details;
    },
  };
}

const marks: ReadonlySet<string> = new Set(["text", "thought", "thoughtSignature"]);

/** Whether a part holds more than the marks that any part may bear. */
function hasData(part: JsonObject): boolean {
  return Object.keys(part).some((name) => !marks.has(name));
}

function isProven({ signature, sealed, id }: Proof): boolean {
  return signature.length > 0 || sealed.length > 0 || id !== "";
}
