import fc from "fast-check";
import { expect, test } from "vitest";
import { createStopText } from "./stop-text.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
// Few letters, so that stop sequences and their beginnings are met often.
const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 20 });
const stopText = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 });

test("whatever the pieces, the reply is cut before the first stop sequence, and whole without one", () => {
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 12 }), fc.array(stopText, { maxLength: 3 }), (pieces, stops) => {
      const text = pieces.join("");
      const stopper = createStopText(stops);
      let out = "";
      for (const piece of pieces) out += stopper.push(piece);
      const { met } = stopper;
      if (met === undefined) out += stopper.rest();
      const found = stops.filter((stop) => text.includes(stop));
      expect(met === undefined).toBe(found.length === 0);
      if (met === undefined) expect(out).toBe(text);
      else {
        expect(stops).toContain(met);
        expect(text.startsWith(out + met)).toBe(true);
        for (const stop of stops) expect(out.includes(stop)).toBe(false);
      }
    }),
    { numRuns },
  );
});

test("no more is held back than may begin a stop sequence", () => {
  const stopper = createStopText(["END"]);
  expect(stopper.push("some text E")).toBe("some text ");
  expect(stopper.push("N")).toBe("");
  expect(stopper.push("X and on")).toBe("ENX and on");
  expect(stopper.push("the END of it")).toBe("the ");
  expect(stopper.met).toBe("END");
  expect(stopper.push("more")).toBe("");
});
