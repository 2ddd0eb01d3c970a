import { type UsageClass, type UsageCounts, type UsageExport, type UsageRow, usageClasses } from "./usage-row.ts";

/** What the ledger has of one model in one UTC day. */
export interface LedgerRow {
  readonly day: string;
  readonly model: string;
  /** Every class. */
  readonly counts: Readonly<Record<UsageClass, bigint>>;
  /** What attempts add to `counts` whose counts are counted or estimated; of `requests`, how many these are. */
  readonly unreported: Readonly<Record<UsageClass, bigint>>;
  /** Attempts that were not sent or not served, which are in neither. */
  readonly unservedCount: bigint;
}

/** A count on which the export and the ledger differ; `cost_usd` in nano-USD. */
export interface Difference {
  readonly day: string;
  readonly model: string;
  readonly class: UsageClass;
  readonly exported: bigint;
  readonly ledger: bigint;
  /** `exported` less `ledger`. */
  readonly difference: bigint;
  /** How much of the difference attempts that are not known for sure could explain: of its sign, and at most all of it. */
  readonly explainable: bigint;
}

/** The outcome of a comparison. */
export interface Comparison {
  /** By day, model and the order of the classes. */
  readonly differences: readonly Difference[];
  /** Days and models that were compared. */
  readonly comparedCount: number;
}

/**
 * Compares an export with the ledger, for each day and model that either has. Where one has no row, it counts zero. A
 * class is left out where the export does not tell it. Pure.
 * @param ledger at most one row for each day and model, of the same days as the export
 */
export function compareUsage(
  exported: Pick<UsageExport, "rows" | "classes">,
  ledger: readonly LedgerRow[],
): Comparison {
  const nothing = Object.fromEntries([...exported.classes].map((name) => [name, 0n])) as UsageCounts;
  const sides = new Map<string, { day: string; model: string; counts?: UsageCounts; row?: LedgerRow }>();
  for (const { day, model, counts } of sumByDayAndModel(exported.rows)) {
    sides.set(placeOf(day, model), { day, model, counts });
  }
  for (const row of ledger) {
    const place = placeOf(row.day, row.model);
    sides.set(place, { day: row.day, model: row.model, ...sides.get(place), row });
  }
  const inOrder = [...sides.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const differences = inOrder.flatMap(([, { day, model, counts = nothing, row }]) =>
    usageClasses.flatMap((name): Difference[] => {
      const told = counts[name];
      const known = row?.counts[name] ?? 0n;
      if (told === undefined || told === known) return [];
      const difference = told - known;
      return [
        {
          day,
          model,
          class: name,
          exported: told,
          ledger: known,
          difference,
          explainable: explain(name, difference, row),
        },
      ];
    }),
  );
  return { differences, comparedCount: sides.size };
}

/**
 * What an export says of each day and model on whose tokens it and the ledger differ, in the order of the comparison. Not of
 * those of which it has no row: it may be an export of other models.
 */
export function trueUpsOf(
  exported: Pick<UsageExport, "rows" | "classes">,
  { differences }: Comparison,
): { readonly day: string; readonly model: string; readonly counts: UsageCounts }[] {
  const told = new Map([...sumByDayAndModel(exported.rows)].map((row) => [placeOf(row.day, row.model), row.counts]));
  const places = new Map(
    differences
      .filter((difference) => difference.class !== "requests" && difference.class !== "cost_usd")
      .map(({ day, model }) => [placeOf(day, model), { day, model }]),
  );
  return [...places].flatMap(([place, { day, model }]) => {
    const counts = told.get(place);
    return counts === undefined ? [] : [{ day, model, counts }];
  });
}

/**
 * What the ledger has too much can come from counts that the provider did not report, as far as they go. What it has too
 * little can all come from them, since nobody knows how much more was used.
 */
function explain(name: UsageClass, difference: bigint, row: LedgerRow | undefined): bigint {
  if (row === undefined) return 0n;
  const { unreported, unservedCount } = row;
  if (difference < 0n) return -least(-difference, unreported[name]);
  // A provider may count calls that it did not serve.
  if (name === "requests") return least(difference, unservedCount);
  return unreported.requests > 0n ? difference : 0n;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function sumByDayAndModel(rows: readonly UsageRow[]): Iterable<UsageRow> {
  const sums = new Map<string, UsageRow>();
  for (const { day, model, counts } of rows) {
    const place = placeOf(day, model);
    const sum = sums.get(place);
    sums.set(place, { day, model, counts: sum === undefined ? counts : add(sum.counts, counts) });
  }
  return sums.values();
}

/** A part that is not told leaves the sum untold. */
function add(a: UsageCounts, b: UsageCounts): UsageCounts {
  return Object.fromEntries(
    usageClasses.flatMap((name) => {
      const [left, right] = [a[name], b[name]];
      return left === undefined || right === undefined ? [] : [[name, left + right]];
    }),
  );
}

/** Days are all of one length, so these texts sort by day and then by model. */
function placeOf(day: string, model: string): string {
  return `${day} ${model}`;
}
