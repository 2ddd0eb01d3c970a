import {
  type GenerateEvent,
  type ReasoningDelta,
  type ReplyDelta,
  type ReplyEnd,
  type ReplyStart,
  StopReason,
  type ToolCallDelta,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { noBytes } from "../bytes.ts";
import { writeInput } from "../claude/tool-input.ts";
import type { AnswerOptions } from "../codec.ts";
import { isObject, type JsonObject, writeJson } from "../json.ts";
import { writeCitation } from "./citations.ts";
import { type ReasoningFacts, writeCallSignature, writeReasoning } from "./sealed.ts";
import { writeStopReason } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

/** What the deltas of one kind say of one part. */
type Piece = TextPiece | ReasoningPiece | CallPiece;

interface TextPiece {
  readonly kind: "text";
  text: string;
  readonly citations: JsonObject[];
}

interface ReasoningPiece extends ReasoningFacts {
  readonly kind: "reasoning";
  text: string;
  signature: Uint8Array;
  sealed: Uint8Array;
  id: string;
}

interface CallPiece {
  readonly kind: "toolCall";
  readonly id: string;
  readonly name: string;
  arguments: string;
  signature: Uint8Array;
}

/** See {@link Codec.writeAnswer}. Only the first choice is written: clients of this dialect cannot ask for more. */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  const pieces = new Map<string, Piece>();
  let start: ReplyStart | undefined;
  let end: ReplyEnd | undefined;
  for (const { kind } of events) {
    if (kind.case === "start") start = kind.value;
    else if (kind.case === "end") end = kind.value;
    else if (kind.case === "delta" && kind.value.choice === 0) addDelta(pieces, kind.value);
    else if (kind.case === "citation" && kind.value.choice === 0 && kind.value.citation !== undefined) {
      textOf(pieces, kind.value.part).citations.push(writeCitation(kind.value.citation));
    }
  }
  const calls = [...pieces.values()].some(({ kind }) => kind === "toolCall");
  const message = writeMessage(start, options, end?.usage);
  return writeJson({ ...message, content: [...pieces.values()].flatMap(writePiece), ...writeEnd(end, calls) });
}

/** A message that has not said anything yet. */
export function writeMessage(
  start: ReplyStart | undefined,
  options: AnswerOptions,
  usage: Usage | undefined,
): JsonObject {
  return {
    id: start?.id || options.id,
    type: "message",
    role: "assistant",
    model: start?.model || options.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
    container: null,
    diagnostics: null,
    usage: writeUsage(usage, start?.serviceTier ?? ""),
  };
}

/** How a message ended: members of it, or of `message_delta`. @param calls whether it has tool calls */
export function writeEnd(end: ReplyEnd | undefined, calls: boolean): JsonObject {
  const choice = end?.choices.find(({ choice: index }) => index === 0);
  const { stop_details: stopDetails, container } = end?.details ?? {};
  return {
    stop_reason: writeStopReason(choice?.reason ?? StopReason.UNSPECIFIED, choice?.rawReason ?? "", calls),
    stop_sequence: choice?.stopSequence || null,
    stop_details: isObject(stopDetails) && stopDetails["type"] === "refusal" ? stopDetails : null,
    container: isObject(container) && typeof container["id"] === "string" ? container : null,
  };
}

function addDelta(pieces: Map<string, Piece>, { part, content }: ReplyDelta): void {
  switch (content.case) {
    case "text":
    case "refusal":
      textOf(pieces, part).text += content.value;
      return;
    case "reasoning":
      addReasoning(pieces, part, content.value);
      return;
    case "toolCall":
      addCall(pieces, part, content.value);
      return;
    // Clients of this dialect know no sound and no pictures in an answer.
    case "audio":
    case "image":
    case undefined:
  }
}

function textOf(pieces: Map<string, Piece>, part: number): TextPiece {
  const known = pieces.get(`${part} text`);
  if (known?.kind === "text") return known;
  return keep(pieces, part, { kind: "text", text: "", citations: [] });
}

function addReasoning(pieces: Map<string, Piece>, part: number, delta: ReasoningDelta): void {
  const known = pieces.get(`${part} reasoning`);
  const empty: ReasoningPiece = { kind: "reasoning", text: "", signature: noBytes, sealed: noBytes, id: "" };
  const piece = known?.kind === "reasoning" ? known : keep(pieces, part, empty);
  piece.text += delta.text;
  if (delta.signature.length > 0) piece.signature = delta.signature;
  if (delta.sealed.length > 0) piece.sealed = delta.sealed;
  if (delta.id !== "") piece.id = delta.id;
}

function addCall(pieces: Map<string, Piece>, part: number, delta: ToolCallDelta): void {
  const known = pieces.get(`${part} toolCall`);
  const { id, name, signature } = delta;
  const empty: CallPiece = { kind: "toolCall", id, name, arguments: "", signature };
  const piece = known?.kind === "toolCall" ? known : keep(pieces, part, empty);
  piece.arguments += delta.arguments;
  if (signature.length > 0) piece.signature = signature;
}

/** Parts of several kinds become several blocks. */
function keep<P extends Piece>(pieces: Map<string, Piece>, part: number, piece: P): P {
  pieces.set(`${part} ${piece.kind}`, piece);
  return piece;
}

function writePiece(piece: Piece): JsonObject[] {
  switch (piece.kind) {
    case "text":
      if (piece.text === "") return [];
      return [{ type: "text", text: piece.text, citations: piece.citations.length === 0 ? null : piece.citations }];
    case "reasoning":
      return [{ ...writeReasoning(piece) }];
    case "toolCall": {
      const { id, name, signature } = piece;
      const proof = signature.length === 0 ? [] : [{ ...writeCallSignature({ callId: id, signature }) }];
      return [...proof, { ...toolUse(id, name), input: writeInput(piece.arguments) }];
    }
  }
}

/** A call whose arguments are still to come. */
export function toolUse(id: string, name: string): JsonObject {
  return { type: "tool_use", id, name, input: {}, caller: { type: "direct" } };
}
