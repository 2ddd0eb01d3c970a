import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Envelope, ProviderError, RequestWriting, UsageReading } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import type { Vector } from "./vector.ts";

/** A request for embeddings, whatever its dialect. */
export interface EmbeddingRequest {
  /** At least one. */
  readonly inputs: readonly EmbeddingInput[];
  /** How the vectors shall be written; absent: as the dialect does when it is not told. */
  readonly encoding?: Encoding;
  /** The end user. */
  readonly user?: string;
  /** Members that no other dialect knows, by the name of theirs. */
  readonly extensions: Readonly<Record<string, JsonObject>>;
}

/** What shall become one vector. */
export interface EmbeddingInput {
  /** A text, or its tokens as the model numbers them; never empty. */
  readonly content: string | readonly number[];
  /** Length of the vector; absent: the model's own. */
  readonly dimensions?: number;
  /** What the vector is for, in the words of https://ai.google.dev/api/embeddings#v1beta.TaskType: `RETRIEVAL_QUERY`. */
  readonly task?: string;
  /** Title of the document that the text is. */
  readonly title?: string;
}

export type Encoding = "float" | "base64";

/** An answer as it was read. */
export interface EmbeddingReading {
  /** In the order of the inputs. Whether they are vectors is seen when they are held against what was asked for. */
  readonly vectors: readonly unknown[];
  /** Whether they stood in that order. */
  readonly ordered: boolean;
  /** As the vendor names it; empty when it does not. */
  readonly model: string;
  readonly usage: UsageReading | undefined;
}

/** What an answer to a request must hold. */
export interface Expectation {
  /** For each input the length of its vector; undefined: the model's own. */
  readonly dimensions: readonly (number | undefined)[];
  readonly encoding: Encoding;
}

/**
 * A public wire format of embeddings, as its clients speak it. Pure.
 * Paths of a canonical request, in errors and warnings: `inputs`, `inputs[2]`, `dimensions`, `task`, `title`, `encoding`,
 * `user`, `extensions.NAME.MEMBER`.
 */
export interface EmbeddingClient {
  readonly dialect: Dialect;
  readonly name: string;
  /**
   * Reads what limits and routing need, and refuses input that no provider takes.
   * @throws WeirError INVALID_REQUEST with `param`
   */
  readEnvelope(body: JsonObject): Envelope;
  /**
   * Reads what an answer must hold, and no more, so that what only the vendor knows can go through.
   * @throws WeirError INVALID_REQUEST with `param`
   */
  readExpectation(body: JsonObject): Expectation;
  /**
   * Reads a whole request, for a target of another dialect.
   * @throws WeirError INVALID_REQUEST with `param`
   */
  readRequest(body: JsonObject): EmbeddingRequest;
  /**
   * Writes the JSON body of an answer whose vectors meet what was expected.
   * @param body the client's request
   */
  writeAnswer(answer: EmbeddingAnswer, body: JsonObject): string;
  /** What a path of the canonical request is called in a body of this dialect. */
  paramIn(path: string, body: JsonObject): string;
}

/** An answer to be written. */
export interface EmbeddingAnswer {
  /** In the order of the inputs. */
  readonly vectors: readonly Vector[];
  readonly model: string;
  /** As reported, or counted where it was not. */
  readonly inputTokens: number;
}

/** A wire format of embeddings, as its providers speak it. Pure. */
export interface EmbeddingTarget {
  readonly name: string;
  /** The member of a request that is the list of inputs; undefined: a request has one input. */
  readonly inputsMember: string | undefined;
  /** Most inputs of one request. */
  readonly inputsMax: number;
  /**
   * Writes a request. What the dialect cannot express is never dropped in silence: a hint is left out with a warning,
   * anything else is refused.
   * @throws WeirError TARGET_UNSUPPORTED with `param`, a path of the canonical request
   */
  writeRequest(request: EmbeddingRequest, model: string): RequestWriting;
  /** Reads the body of an answer of `count` vectors; undefined when it is none. */
  readAnswer(body: JsonObject, count: number): EmbeddingReading | undefined;
  /** The error that a body reports; undefined when it reports none. */
  readError(body: JsonObject): ProviderError | undefined;
}

/** Most inputs of one request of a client. https://platform.openai.com/docs/api-reference/embeddings/create */
export const inputsMax = 2_048;
export const dimensionsMax = 65_536;
