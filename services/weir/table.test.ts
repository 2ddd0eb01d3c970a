import fc from "fast-check";
import { expect, test } from "vitest";
import { renderTable, usdText } from "./table.ts";

test("aligns columns, numbers at the right", () => {
  const text = renderTable(
    [
      { name: "a", count: 1 },
      { name: "longer", count: 1000 },
    ],
    [
      { title: "name", text: (row) => row.name },
      { title: "count", text: (row) => String(row.count), align: "right" },
    ],
  );
  expect(text).toBe("name    count\na           1\nlonger   1000\n");
});

test("keeps escape sequences of names away from the terminal", () => {
  expect(renderTable(["\u{1b}[2Jx\n"], [{ title: "t", text: (row) => row }])).toBe("t\n\u{fffd}[2Jx\u{fffd}\n");
});

test("shows money exactly", () => {
  expect(usdText(0n)).toBe("0.00");
  expect(usdText(1n)).toBe("0.000000001");
  expect(usdText(2_500_000_000n)).toBe("2.50");
  expect(usdText(-1_250_000n)).toBe("-0.00125");
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }), (amount) => {
      const [whole = "", decimals = ""] = usdText(amount).replace("-", "").split(".");
      const magnitude = BigInt(whole) * 1_000_000_000n + BigInt(decimals.padEnd(9, "0"));
      expect(amount < 0n ? -magnitude : magnitude).toBe(amount);
      expect(decimals.length).toBeGreaterThanOrEqual(2);
    }),
  );
});
