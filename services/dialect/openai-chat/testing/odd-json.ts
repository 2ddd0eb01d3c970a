import fc, { type Arbitrary } from "fast-check";

/** Objects that have the members of bodies and chunks, with values of any type, some of them right. */
export function oddJson(members: readonly string[], words: readonly string[]): Arbitrary<Record<string, unknown>> {
  const { object } = fc.letrec<{ object: Record<string, unknown>; value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "medium" },
      fc.constantFrom<unknown>(null, true, 0, 1, -1, 0.5, 1e300, "", ...words),
      tie("object"),
      fc.array(tie("value"), { maxLength: 3 }),
    ),
    object: fc.dictionary(fc.constantFrom(...members), tie("value"), { maxKeys: 6, noNullPrototype: true }),
  }));
  return object;
}
