import type { EmbeddingRequest, Encoding, Expectation } from "./embedding.ts";
import { encodeVector, type Vector, vectorLength } from "./vector.ts";

/** What the answer to a canonical request must hold. */
export function expectationOf({ inputs, encoding = "float" }: EmbeddingRequest): Expectation {
  return { dimensions: inputs.map(({ dimensions }) => dimensions), encoding };
}

/**
 * Checks the vectors of an answer: one for each input, each of the length that was asked for, those of which none was asked
 * all of one, and no number that is not finite.
 * @param dimensions for each input the length of its vector; undefined: the model's own
 * @returns undefined when they are not what was asked for
 */
export function checkVectors(
  vectors: readonly unknown[],
  dimensions: Expectation["dimensions"],
): readonly Vector[] | undefined {
  if (vectors.length !== dimensions.length) return undefined;
  let own: number | undefined;
  for (const [index, vector] of vectors.entries()) {
    const length = vectorLength(vector);
    if (length === undefined) return undefined;
    if (dimensions[index] === undefined) own ??= length;
    if (length !== (dimensions[index] ?? own)) return undefined;
  }
  return vectors as readonly Vector[];
}

/** Vectors in an encoding; undefined when one of them cannot be written in it. */
export function encodeVectors(vectors: readonly Vector[], encoding: Encoding): readonly Vector[] | undefined {
  const encoded = vectors.map((vector) => encodeVector(vector, encoding));
  return encoded.every((vector) => vector !== undefined) ? encoded : undefined;
}
