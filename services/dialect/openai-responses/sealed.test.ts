import fc from "fast-check";
import { expect, test } from "vitest";
import { makeReasoningId, readReasoningId, readSealed, writeSealed } from "./sealed.ts";

const noBytes = new Uint8Array(0);

test("any bytes come back as they were", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 12 }),
    fc.constantFrom("gAAAAA-x_y==", "weir:", "weir:YQ.YQ.", "weir:..").map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, bytes, fc.string({ unit: "grapheme", maxLength: 6 }), (signature, sealed, callId) => {
      const back = readSealed(writeSealed({ signature, sealed, callId }));
      expect([[...back.signature], [...back.sealed], back.callId]).toEqual([[...signature], [...sealed], callId]);
    }),
    { numRuns: 2_000 },
  );
});

test("what OpenAI sealed stands as it is", () => {
  const sealed = Buffer.from("gAAAAABo==");
  expect(writeSealed({ signature: noBytes, sealed, callId: "" })).toBe("gAAAAABo==");
  expect(writeSealed({ signature: noBytes, sealed: noBytes, callId: "" })).toBe("");
  expect(writeSealed({ signature: sealed, sealed: noBytes, callId: "" })).toMatch(/^weir:/);
});

test("an id that was made up is taken for none", () => {
  expect(readReasoningId(makeReasoningId("a_0"))).toBe("");
  expect(readReasoningId("rs_1")).toBe("rs_1");
  expect(readReasoningId(undefined)).toBe("");
});
