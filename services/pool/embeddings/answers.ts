import type {
  EmbeddingAnswer,
  EmbeddingReading,
  EmbeddingTarget,
  Expectation,
} from "@weir/dialect/embeddings/embedding";
import { checkVectors, encodeVectors } from "@weir/dialect/embeddings/expectation";
import type { Vector } from "@weir/dialect/embeddings/vector";
import { parseObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type AnswerPath, mediaTypes, type WholeAnswer } from "../answers/answer-path.ts";

/** An answer whose vectors are what was asked for, as the target sent them. */
export interface CheckedReading extends EmbeddingReading {
  readonly vectors: readonly Vector[];
}

/**
 * The answers to a request for embeddings: one JSON body, held against what was asked for.
 * @param dimensions for each input the length of its vector; undefined: the model's own
 * @param pieceOf what the caller gets; undefined when the answer cannot be written for it
 * @param tellsErrors whether the caller may read the target's own words when it refuses
 */
export function wholeAnswers(
  target: EmbeddingTarget,
  dimensions: Expectation["dimensions"],
  pieceOf: (reading: CheckedReading, body: Buffer) => Buffer | undefined,
  tellsErrors: boolean,
): AnswerPath {
  function readWhole(body: Buffer): WholeAnswer {
    const json = parseObject(body.toString());
    if (json === undefined) return malformed;
    const error = target.readError(json);
    if (error !== undefined) return { kind: "error", error, piece: tellsErrors ? body : undefined };
    const reading = target.readAnswer(json, dimensions.length);
    const vectors = reading && checkVectors(reading.vectors, dimensions);
    const piece = vectors && pieceOf({ ...reading, vectors }, body);
    if (reading === undefined || piece === undefined) return malformed;
    return { kind: "answer", usage: reading.usage, outputTokens: 0, replyId: "", piece };
  }
  return {
    streamType: mediaTypes.sse,
    contentTypes: { stream: mediaTypes.sse, whole: "application/json" },
    openStream() {
      throw new WeirError(ErrorReason.INTERNAL); // no call asks for one
    },
    readWhole,
  };
}

const malformed: WholeAnswer = { kind: "malformed" };

/** What becomes of the answer to one request. */
export interface EmbeddingReader {
  readonly target: EmbeddingTarget;
  readonly expectation: Expectation;
  /** The target's model: for answers that name none. */
  readonly model: string;
  /** Whether the client speaks the target's dialect, so that it gets what came as it came. */
  readonly same: boolean;
  /** Writes the answer in the client's dialect. */
  write(answer: EmbeddingAnswer): string;
  /** The input's tokens by our own count: for vendors that report none. */
  countInput(): number;
}

/** The answers to one request. */
export function embeddingAnswers(reader: EmbeddingReader): AnswerPath {
  const { target, expectation, model, same, write, countInput } = reader;
  return wholeAnswers(
    target,
    expectation.dimensions,
    (reading, body) => {
      const vectors = encodeVectors(reading.vectors, expectation.encoding);
      if (vectors === undefined) return undefined;
      const asAsked = reading.ordered && vectors.every((vector, index) => vector === reading.vectors[index]);
      if (same && asAsked) return body;
      const inputTokens = reading.usage?.usage.inputTokens ?? countInput();
      return Buffer.from(write({ vectors, model: reading.model || model, inputTokens }));
    },
    same,
  );
}
