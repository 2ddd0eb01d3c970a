import type { Codec } from "@weir/dialect/codec";
import type { JsonObject } from "@weir/dialect/json";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { Piece, WholeAnswer } from "./answer-path.ts";
import { contentBytes, replyIdOf } from "./events.ts";

/** What the caller gets of a whole body. */
export interface Pieces {
  answer(events: readonly GenerateEvent[]): Piece;
  readonly error: Buffer | undefined;
}

/**
 * Says what a whole body is.
 * @param json undefined: the body is no JSON object
 */
export function wholeAnswerOf(
  source: Pick<Codec, "readAnswer" | "readError">,
  json: JsonObject | undefined,
  pieces: Pieces,
): WholeAnswer {
  if (json === undefined) return { kind: "malformed" };
  const error = source.readError(json);
  if (error !== undefined) return { kind: "error", error, piece: pieces.error };
  const answer = source.readAnswer(json);
  if (answer === undefined) return { kind: "malformed" };
  const { events, usage } = answer;
  return {
    kind: "answer",
    usage,
    outputTokens: Math.ceil(contentBytes(events) / 4),
    replyId: replyIdOf(events),
    piece: pieces.answer(events),
  };
}
