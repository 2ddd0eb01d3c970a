import type { EmbeddingRequest, Expectation } from "./embedding.ts";
import { encodeVector, type Vector, vectorLength } from "./vector.ts";

/** What the answer to a canonical request must hold. */
export function expectationOf({ inputs, encoding = "float" }: EmbeddingRequest): Expectation {
  return { dimensions: inputs.map(({ dimensions }) => dimensions), encoding };
}

/**
 * Checks the vectors of an answer: one for each input, each of the length that was asked for, those of which none was asked
 * all of one, and no number that is not finite.
 * @returns the vectors as the client wants them written; undefined when they are not what was asked for
 */
export function meetExpectation(
  vectors: readonly unknown[],
  { dimensions, encoding }: Expectation,
): readonly Vector[] | undefined {
  if (vectors.length !== dimensions.length) return undefined;
  const encoded: Vector[] = [];
  let own: number | undefined;
  for (const [index, vector] of vectors.entries()) {
    const length = vectorLength(vector);
    if (length === undefined) return undefined;
    own = dimensions[index] === undefined ? (own ?? length) : own;
    if (length !== (dimensions[index] ?? own)) return undefined;
    const written = encodeVector(vector as Vector, encoding);
    if (written === undefined) return undefined;
    encoded.push(written);
  }
  return encoded;
}
