import fc from "fast-check";
import { expect, test } from "vitest";
import { isOwnReasoning, readRedacted, readThinking, writeCallSignature, writeReasoning } from "./sealed.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);
const timeout = 600_000;

const bytes = fc.oneof(
  fc.constant(new Uint8Array()),
  fc.uint8Array({ maxLength: 12 }),
  fc.constantFrom("weir:a.b.c", "weir:..", "weir-call:a.b").map((text) => Buffer.from(text)),
);
const reasoning = fc.record({
  text: fc.string({ unit: "binary" }),
  signature: bytes,
  sealed: bytes,
  id: fc.oneof(fc.constant(""), fc.string({ unit: "binary" })),
});

test("reasoning of any vendor comes back from a client as it was", { timeout }, () => {
  fc.assert(
    fc.property(reasoning, (facts) => {
      const block = writeReasoning(facts);
      const read = block.type === "thinking" ? readThinking(block.thinking, block.signature) : readRedacted(block.data);
      expect(inHex(read)).toEqual(inHex(facts));
    }),
    { numRuns },
  );
});

function inHex(facts: object): object {
  const entries = Object.entries(facts).map(([name, value]): [string, unknown] => [
    name,
    value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value,
  ]);
  return Object.fromEntries(entries);
}

test("what a client gets of this vendor's own reasoning is the vendor's own block", () => {
  const none = { signature: new Uint8Array(), sealed: new Uint8Array(), id: "" };
  expect(writeReasoning({ ...none, text: "a", signature: Buffer.from("s") })).toEqual({
    type: "thinking",
    thinking: "a",
    signature: "s",
  });
  expect(writeReasoning({ ...none, text: "", sealed: Buffer.from("s") })).toEqual({
    type: "redacted_thinking",
    data: "s",
  });
  expect(writeReasoning({ ...none, text: "a" })).toEqual({ type: "thinking", thinking: "a", signature: "" });
});

test("what was wrapped for a client never looks like this vendor's own", { timeout }, () => {
  fc.assert(
    fc.property(reasoning, (facts) => {
      if (isOwnReasoning(facts)) return;
      const block = writeReasoning(facts);
      if (block.type === "thinking" && block.signature !== "") expect(block.signature).toMatch(/^weir:/);
    }),
    { numRuns },
  );
});

test("the proof of a call comes back from a client as it was", () => {
  const call = { callId: "call_é", signature: Buffer.from([0, 255]) };
  const block = writeCallSignature(call);
  expect(block.type === "redacted_thinking" && readRedacted(block.data)).toEqual(call);
});
