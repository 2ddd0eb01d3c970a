import fc from "fast-check";
import { expect, test } from "vitest";
import { createKeptBytes } from "./kept-bytes.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);

const piece = fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes));

test("what is taken is what was kept, in order, again and again; nobody else's bytes are written to", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.array(piece), piece), { maxLength: 4 }), (rounds) => {
      const kept = createKeptBytes();
      for (const [pieces, last] of rounds) {
        const before = pieces.map((bytes) => bytes.toString("hex"));
        // Each piece is the beginning of a larger memory, as one from a socket is.
        const given = pieces.map((bytes) => Buffer.concat([bytes, Buffer.from("after")]).subarray(0, bytes.length));
        for (const bytes of given) kept.append(bytes);
        const all = Buffer.concat(pieces);
        expect(kept.length()).toBe(all.length);
        expect(kept.view()).toEqual(all);
        expect(kept.take(last)).toEqual(Buffer.concat([all, last]));
        expect(kept.length()).toBe(0);
        expect(given.map((bytes) => bytes.toString("hex"))).toEqual(before);
        for (const bytes of given)
          expect(Buffer.from(bytes.buffer, bytes.byteOffset + bytes.length, 5).toString()).toBe("after");
      }
    }),
    { numRuns },
  );
});

test("one piece is not copied", () => {
  const kept = createKeptBytes();
  const bytes = Buffer.from("one");
  kept.append(bytes);
  expect(kept.take().buffer).toBe(bytes.buffer);
  expect(kept.take(bytes)).toBe(bytes);
});

test("small pieces are moved into larger memory seldom", () => {
  const kept = createKeptBytes();
  const memories = new Set<ArrayBufferLike>();
  for (let i = 0; i < 100_000; i += 1) {
    kept.append(Buffer.from("0123456789"));
    memories.add(kept.view().buffer);
  }
  expect(memories.size).toBeLessThan(40);
  expect(kept.view().buffer.byteLength).toBeLessThanOrEqual(2 * kept.length());
});
