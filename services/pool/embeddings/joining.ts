import { hash } from "node:crypto";
import type { EmbeddingAnswer, EmbeddingTarget, Expectation } from "@weir/dialect/embeddings/embedding";
import { type JsonObject, writeJson } from "@weir/dialect/json";

/** How a call for embeddings may be made together with others. */
export interface Joining {
  /** Calls to one provider that have one key may be one: they differ in their inputs alone. */
  readonly key: string;
  readonly target: EmbeddingTarget;
  /** The target's model. */
  readonly model: string;
  readonly path: string;
  /** As the target takes them, in their order. */
  readonly inputs: readonly unknown[];
  /** Of the inputs. */
  readonly bytes: number;
  /** An estimate of the inputs' tokens, up to a factor that all calls of a key share; positive. */
  readonly weight: number;
  readonly expectation: Expectation;
  /** The body of a call for the inputs of several. */
  body(inputs: readonly unknown[]): Buffer;
  /** Writes this call's own answer. */
  write(answer: EmbeddingAnswer): string;
}

/** A request, written for its target. */
export interface WrittenRequest extends Pick<Joining, "target" | "model" | "path" | "expectation" | "write"> {
  /** With its inputs in a list. */
  readonly body: JsonObject;
}

/** @returns undefined when the target's requests have one input */
export function joiningOf({ body, ...request }: WrittenRequest): Joining | undefined {
  const { inputsMember } = request.target;
  if (inputsMember === undefined) return undefined;
  const { [inputsMember]: list, ...rest } = body;
  const inputs = list as readonly unknown[];
  const bytes = Buffer.byteLength(writeJson(inputs));
  const isTokens = Array.isArray(inputs[0]);
  return {
    ...request,
    key: hash("sha256", writeJson([request.path, isTokens, rest])),
    inputs,
    bytes,
    weight: isTokens ? (inputs as readonly unknown[][]).reduce((sum, tokens) => sum + tokens.length, 0) : bytes,
    body: (all) => Buffer.from(writeJson({ ...rest, [inputsMember]: all })),
  };
}
