import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { ToolCallDelta } from "@weir/gen/weir/chat/v1/event_pb";
import { asBuffer, noBytes } from "../bytes.ts";
import { type JsonObject, parseExact, parseObject, rawJson } from "../json.ts";
import { ownText, type Proof, writeProof } from "./signature.ts";

/** A call, put together from its deltas. */
export interface GatheredCall {
  id: string;
  name: string;
  arguments: string;
  signature: Uint8Array;
}

/** Adds a delta to a call, which is new when there is none yet. */
export function gatherCall(call: GatheredCall | undefined, delta: ToolCallDelta): GatheredCall {
  if (call === undefined) {
    const { id, name, signature } = delta;
    return { id, name, arguments: delta.arguments, signature };
  }
  if (delta.id !== "") call.id = delta.id;
  if (delta.name !== "") call.name = delta.name;
  if (delta.signature.length > 0) call.signature = delta.signature;
  call.arguments += delta.arguments;
  return call;
}

/** Writes a call; undefined when its arguments are no JSON object, which Gemini's clients could not be told. */
export function writeCall({ id, name, arguments: text, signature }: GatheredCall): JsonObject | undefined {
  if (text !== "" && parseObject(text) === undefined) return undefined;
  return {
    functionCall: { ...(id === "" ? {} : { id }), name, args: text === "" ? {} : rawJson(onOneLine(text)) },
    ...writeSignature({ signature, sealed: noBytes, id: "" }),
  };
}

/** JSON without line breaks, which can only stand between its tokens; Google's clients read frames of one line. */
function onOneLine(json: string): string {
  return json.replace(/[\r\n]+/g, " ");
}

/** Reasoning, put together from its deltas. */
export interface GatheredThought extends Proof {
  readonly text: string;
}

const noThought: GatheredThought = { text: "", signature: noBytes, sealed: noBytes, id: "" };

/** Adds a delta to reasoning. */
export function gatherThought(before: GatheredThought | undefined, delta: GatheredThought): GatheredThought {
  const { text, signature, sealed, id } = before ?? noThought;
  return {
    text: text + delta.text,
    signature: delta.signature.length > 0 ? delta.signature : signature,
    sealed: delta.sealed.length > 0 ? delta.sealed : sealed,
    id: delta.id === "" ? id : delta.id,
  };
}

/** What reasoning becomes besides its text. */
export type ProofWriting =
  /** A part of Gemini's own that no canonical field holds. */
  | { readonly kind: "part"; readonly part: JsonObject }
  /** A signature of Gemini's that has no reasoning beside it: that of the part before it. */
  | { readonly kind: "signature"; readonly thoughtSignature: string }
  /** What goes with the text. */
  | { readonly kind: "mark"; readonly thoughtSignature?: string };

export function writeThoughtProof(thought: GatheredThought): ProofWriting {
  const part = parseExact(ownText(thought.sealed) ?? "");
  if (part !== undefined) return { kind: "part", part };
  const own = ownText(thought.signature);
  const isAlone = thought.text === "" && thought.sealed.length === 0 && thought.id === "";
  if (own !== undefined && isAlone) return { kind: "signature", thoughtSignature: own };
  return { kind: "mark", ...writeSignature(thought) };
}

function writeSignature(proof: Proof): { readonly thoughtSignature?: string } {
  const thoughtSignature = writeProof(proof);
  return thoughtSignature === undefined ? {} : { thoughtSignature };
}

/** Writes a picture. */
export function writeImage({ source, mediaType, filename }: Media): JsonObject {
  const displayName = filename === "" ? {} : { displayName: filename };
  if (source.case === "data") {
    const data = asBuffer(source.value).toString("base64");
    return { inlineData: { mimeType: mediaType || "image/png", data, ...displayName } };
  }
  return {
    fileData: { fileUri: source.value ?? "", ...(mediaType === "" ? {} : { mimeType: mediaType }), ...displayName },
  };
}

/** The type of `pcm16` at the rate that Gemini and OpenAI share: https://ai.google.dev/gemini-api/docs/speech-generation */
const audioType = "audio/L16;codec=pcm;rate=24000";

/** Writes sound, with what is said in it. */
export function writeAudio(data: Uint8Array, transcript: string): JsonObject {
  return {
    ...(data.length === 0 ? {} : { inlineData: { mimeType: audioType, data: asBuffer(data).toString("base64") } }),
    ...(transcript === "" ? {} : { audioTranscription: { text: transcript } }),
  };
}
