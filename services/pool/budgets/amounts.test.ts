import { expect, test } from "vitest";
import { inputTokensToHold } from "@weir/dialect/wire-request";
import { amountOf, dearestRates } from "./amounts.ts";

const price = {
  id: "p/m@always",
  provider: "p",
  model: "m",
  effectiveTime: undefined,
  nanoUsdPerMillion: {
    input: 1_000_000n,
    cachedInput: 100_000n,
    cacheWrite: 1_250_000n,
    cacheWriteLong: 2_000_000n,
    output: 4_000_000n,
  },
  tiers: [
    {
      serviceTier: "",
      inputTokensAbove: 100,
      nanoUsdPerMillion: { input: 9_000_000n, cachedInput: 0n, cacheWrite: 0n, output: 8_000_000n },
    },
  ],
  source: "a test",
};

test("input counts at the dearest rate that may apply, rounded up, and nothing is held for free", () => {
  expect(dearestRates(price, 100)).toEqual({ input: 2, output: 4 });
  expect(dearestRates(price, 101)).toEqual({ input: 9, output: 8 });
  expect(amountOf({ input: 0.3, output: 0 }, 1, 0)).toBe(1);
  expect(amountOf({ input: 2, output: 4 }, 3, 5)).toBe(26);
});

test("a token for every three bytes is held, and little for an embedded picture", () => {
  expect(inputTokensToHold(Buffer.alloc(300, "x"))).toBe(100);
  const text = `{"messages":[{"role":"user","content":"${"word ".repeat(6_000)}"}]}`;
  expect(inputTokensToHold(Buffer.from(text))).toBe(Math.ceil((Math.ceil(text.length / 4) * 4) / 3));
  const picture = `{"image_url":"data:image/png;base64,${"A".repeat(300_000)}"}`;
  expect(inputTokensToHold(Buffer.from(picture))).toBeLessThan(2_000);
});
