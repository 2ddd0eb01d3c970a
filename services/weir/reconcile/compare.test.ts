import fc from "fast-check";
import { expect, test } from "vitest";
import { compareUsage, type LedgerRow } from "./compare.ts";
import { type UsageClass, type UsageCounts, type UsageRow, usageClasses } from "./usage-row.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const allClasses = new Set(usageClasses);

const countsOf = (amounts: fc.Arbitrary<bigint>) => fc.tuple(...usageClasses.map(() => amounts)).map(countsFrom);

function countsFrom(amounts: readonly bigint[]): Record<UsageClass, bigint> {
  const [input = 0n, cached = 0n, write = 0n, long = 0n, output = 0n, reasoning = 0n, requests = 0n, cost = 0n] =
    amounts;
  return {
    input_tokens: input,
    cached_input_tokens: cached,
    cache_write_tokens: write,
    cache_write_long_tokens: long,
    output_tokens: output,
    reasoning_tokens: reasoning,
    requests,
    cost_usd: cost,
  };
}

const none = countsFrom([]);
const amount = fc.bigInt({ min: 0n, max: 1n << 70n });
const ledgerRows = fc.uniqueArray(
  fc.record({
    day: fc.constantFrom("2026-11-19", "2026-11-20", "2026-12-01"),
    model: fc.constantFrom("large", "small", "large 2", "größe"),
    counts: countsOf(amount),
    unreported: countsOf(amount),
    unservedCount: amount,
  }),
  { selector: ({ day, model }) => `${day} ${model}`, minLength: 1, maxLength: 10 },
);

/** A ledger's rows as an export has them, each cut in two. */
const exportOf = (rows: readonly LedgerRow[]): UsageRow[] =>
  rows.flatMap(({ day, model, counts }) => {
    const half = Object.fromEntries(usageClasses.map((name) => [name, counts[name] / 3n])) as UsageCounts;
    const rest = Object.fromEntries(
      usageClasses.map((name) => [name, counts[name] - counts[name] / 3n]),
    ) as UsageCounts;
    return [
      { day, model, counts: half },
      { day, model, counts: rest },
    ];
  });

test("an export made of the ledger's rows agrees, in any order", () => {
  fc.assert(
    fc.property(
      ledgerRows.chain((ledger) =>
        fc.tuple(fc.constant(ledger), fc.shuffledSubarray(exportOf(ledger), { minLength: 2 * ledger.length })),
      ),
      ([ledger, rows]) => {
        expect(compareUsage({ rows, classes: allClasses }, ledger)).toEqual({
          differences: [],
          comparedCount: ledger.length,
        });
      },
    ),
    { numRuns },
  );
});

test("one count that is off is found, by how much, and nothing else is", () => {
  fc.assert(
    fc.property(
      ledgerRows,
      fc.nat(),
      fc.constantFrom(...usageClasses),
      fc.bigInt({ min: 1n, max: 1n << 40n }),
      (ledger, at, name, off) => {
        const rows = exportOf(ledger);
        const row = rows[at % rows.length];
        const wrong = ledger.find(({ day, model }) => day === row?.day && model === row.model);
        if (row === undefined || wrong === undefined) throw new Error("no row");
        const perturbed = rows.map((each) =>
          each === row ? { ...each, counts: { ...each.counts, [name]: (each.counts[name] ?? 0n) + off } } : each,
        );
        const { differences } = compareUsage({ rows: perturbed, classes: allClasses }, ledger);
        const told = { exported: wrong.counts[name] + off, ledger: wrong.counts[name], difference: off };
        expect(differences).toMatchObject([{ day: wrong.day, model: wrong.model, class: name, ...told }]);
      },
    ),
    { numRuns },
  );
});

test("what could explain a difference has its sign and is never more", () => {
  fc.assert(
    fc.property(ledgerRows, ledgerRows, (ledger, other) => {
      for (const { difference, explainable } of compareUsage({ rows: exportOf(other), classes: allClasses }, ledger)
        .differences) {
        expect(
          difference > 0n
            ? explainable >= 0n && explainable <= difference
            : explainable <= 0n && explainable >= difference,
        ).toBe(true);
      }
    }),
    { numRuns },
  );
});

const row = { day: "2026-11-20", model: "large", unreported: none, unservedCount: 0n };

test("a day and model that only one side has counts zero on the other, in the classes that the export tells", () => {
  const tells = new Set(["input_tokens", "output_tokens"] as const);
  const ledger = [{ ...row, counts: countsFrom([10n, 5n, 0n, 0n, 0n, 0n, 3n, 9n]) }];
  expect(compareUsage({ rows: [], classes: tells }, ledger)).toEqual({
    comparedCount: 1,
    differences: [
      {
        day: row.day,
        model: row.model,
        class: "input_tokens",
        exported: 0n,
        ledger: 10n,
        difference: -10n,
        explainable: 0n,
      },
    ],
  });
  const rows = [{ day: row.day, model: "other", counts: { output_tokens: 7n } }];
  expect(compareUsage({ rows, classes: tells }, []).differences).toMatchObject([
    { model: "other", class: "output_tokens", exported: 7n, ledger: 0n, difference: 7n, explainable: 0n },
  ]);
});

test("a class that the export does not tell is not compared, also when only a part of it is missing", () => {
  const ledger = [{ ...row, counts: countsFrom([10n, 5n]) }];
  const rows = [
    { day: row.day, model: row.model, counts: { input_tokens: 6n, cached_input_tokens: 1n } },
    { day: row.day, model: row.model, counts: { input_tokens: 4n } },
  ];
  expect(compareUsage({ rows, classes: allClasses }, ledger).differences).toEqual([]);
});

test("counts that no provider reported explain what is too much as far as they go, and all that is too little", () => {
  const counts = countsFrom([100n, 0n, 0n, 0n, 100n, 0n, 10n, 50n]);
  const ledger = [{ ...row, counts, unreported: countsFrom([30n, 0n, 0n, 0n, 30n, 0n, 2n, 20n]), unservedCount: 3n }];
  const compare = (changes: UsageCounts) =>
    compareUsage({ rows: [{ ...row, counts: changes }], classes: allClasses }, ledger).differences.map(
      ({ difference, explainable }) => [difference, explainable],
    );
  expect(compare({ input_tokens: 80n, output_tokens: 60n, cost_usd: 10n })).toEqual([
    [-20n, -20n],
    [-40n, -30n],
    [-40n, -20n],
  ]);
  expect(compare({ input_tokens: 1_000n, reasoning_tokens: 5n })).toEqual([
    [900n, 900n],
    [5n, 5n],
  ]);
  // Calls that were not served may count for the provider; those that it reported nothing of may not.
  expect(compare({ requests: 14n })).toEqual([[4n, 3n]]);
  expect(compare({ requests: 7n })).toEqual([[-3n, -2n]]);
});
