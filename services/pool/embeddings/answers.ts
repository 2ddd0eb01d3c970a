import type {
  EmbeddingAnswer,
  EmbeddingReading,
  EmbeddingTarget,
  Expectation,
} from "@weir/dialect/embeddings/embedding";
import { meetExpectation } from "@weir/dialect/embeddings/expectation";
import { parseObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type AnswerPath, mediaTypes, type WholeAnswer } from "../answers/answer-path.ts";

/** What becomes of an answer. */
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

/** The answers to a request for embeddings: one JSON body, held against what was asked for. */
export function embeddingAnswers(reader: EmbeddingReader): AnswerPath {
  return {
    streamType: mediaTypes.sse,
    contentTypes: { stream: mediaTypes.sse, whole: "application/json" },
    openStream() {
      throw new WeirError(ErrorReason.INTERNAL); // no call asks for one
    },
    readWhole: (body) => readWhole(reader, body),
  };
}

const malformed: WholeAnswer = { kind: "malformed" };

function readWhole(reader: EmbeddingReader, body: Buffer): WholeAnswer {
  const { target, expectation, same } = reader;
  const json = parseObject(body.toString());
  if (json === undefined) return malformed;
  const error = target.readError(json);
  if (error !== undefined) return { kind: "error", error, piece: same ? body : undefined };
  const reading = target.readAnswer(json, expectation.dimensions.length);
  const vectors = reading && meetExpectation(reading.vectors, expectation);
  if (reading === undefined || vectors === undefined) return malformed;
  const asAsked = same && reading.ordered && vectors.every((vector, index) => vector === reading.vectors[index]);
  return {
    kind: "answer",
    usage: reading.usage,
    outputTokens: 0,
    replyId: "",
    piece: asAsked ? body : Buffer.from(reader.write({ ...facts(reader, reading), vectors })),
  };
}

function facts({ model, countInput }: EmbeddingReader, reading: EmbeddingReading): Omit<EmbeddingAnswer, "vectors"> {
  return {
    model: reading.model === "" ? model : reading.model,
    inputTokens: reading.usage?.usage.inputTokens ?? countInput(),
  };
}
