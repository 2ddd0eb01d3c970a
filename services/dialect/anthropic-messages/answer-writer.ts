import type { GenerateEvent, ReplyDelta, ReplyEnd, ReplyStart } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions } from "../codec.ts";
import { isObject, type JsonObject, writeJson } from "../json.ts";
import { noBytes } from "./bytes.ts";
import { writeCitation } from "./citations.ts";
import { type ReasoningFacts, writeCallSignature, writeReasoning } from "./sealed.ts";
import { writeStopReason } from "./stop-reason.ts";
import { writeInput } from "./tool-input.ts";
import { writeUsage } from "./usage.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

type Piece =
  | { readonly kind: "text"; text: string; readonly citations: JsonObject[] }
  | ({ readonly kind: "reasoning" } & Mutable<ReasoningFacts>)
  | { readonly kind: "toolCall"; id: string; name: string; arguments: string; signature: Uint8Array };

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
    stop_reason: writeStopReason(choice?.reason ?? 0, choice?.rawReason ?? "", calls),
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
    case "reasoning": {
      const { text, signature, sealed, id } = content.value;
      const piece = pieceOf(pieces, part, "reasoning", () => ({
        ...{ kind: "reasoning", text: "", signature: noBytes, sealed: noBytes, id: "" },
      }));
      piece.text += text;
      if (signature.length > 0) piece.signature = signature;
      if (sealed.length > 0) piece.sealed = sealed;
      if (id !== "") piece.id = id;
      return;
    }
    case "toolCall": {
      const { id, name, arguments: json, signature } = content.value;
      const piece = pieceOf(pieces, part, "toolCall", () => ({
        ...{ kind: "toolCall", id, name, arguments: "", signature: noBytes },
      }));
      piece.arguments += json;
      if (signature.length > 0) piece.signature = signature;
      return;
    }
    // Clients of this dialect know no sound and no pictures in an answer.
    case "audio":
    case "image":
    case undefined:
  }
}

function textOf(pieces: Map<string, Piece>, part: number) {
  return pieceOf(pieces, part, "text", () => ({ kind: "text", text: "", citations: [] }));
}

/** The piece of one kind for a part; parts of several kinds become several blocks. */
function pieceOf<K extends Piece["kind"]>(
  pieces: Map<string, Piece>,
  part: number,
  kind: K,
  make: () => Extract<Piece, { kind: K }>,
): Extract<Piece, { kind: K }> {
  const key = `${part} ${kind}`;
  const known = pieces.get(key);
  if (known !== undefined) return known as Extract<Piece, { kind: K }>;
  const made = make();
  pieces.set(key, made);
  return made;
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
