import type { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { type JsonObject, parseExact, writeJson } from "../json.ts";
import type { EmbeddingInput } from "./embedding.ts";

// What the tests of these dialects share.

export const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);

export const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const dimensions = fc.integer({ min: 1, max: 65_536 });

/** Members that any input may have. */
export const options = {
  dimensions,
  task: fc.constantFrom("RETRIEVAL_QUERY", "CLUSTERING", "NEW_ONE"),
  title: fc.string({ maxLength: 8 }),
};

/** Inputs of one kind, with one length for all. */
export const inputs = fc
  .tuple(
    fc.oneof(
      fc.array(someText, { minLength: 1, maxLength: 5 }),
      fc.array(fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 }),
    ),
    fc.option(dimensions, { nil: undefined }),
  )
  .map(([contents, length]): EmbeddingInput[] =>
    contents.map((content) => (length === undefined ? { content } : { content, dimensions: length })),
  );

/** Finite numbers as vectors of one length. */
export const vectors = fc
  .integer({ min: 1, max: 6 })
  .chain((length) =>
    fc.array(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: length, maxLength: length }), {
      minLength: 1,
      maxLength: 5,
    }),
  )
  .map((list) => list.map((vector) => vector.map((number) => number + 0)));

export function parse(text: string): JsonObject {
  const json = parseExact(text);
  if (json === undefined) throw new Error("is no JSON object");
  return json;
}

/** A body as it is read after its way over the wire. */
export function overTheWire(body: JsonObject): JsonObject {
  return parse(writeJson(body));
}

/** What was thrown: the reason and the `param`. */
export function refusal(act: () => unknown): readonly [ErrorReason, string | undefined] {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError) return [error.reason, error.metadata["param"]];
    throw error;
  }
  throw new Error("was accepted");
}
