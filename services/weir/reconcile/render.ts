import { type CsvColumn, csvHeader, csvLine, decimalUsd } from "@weir/metering/csv";
import { type Column, renderTable, usdText } from "../table.ts";
import type { Comparison, Difference } from "./compare.ts";
import type { UsageExport } from "./usage-row.ts";

/** What was compared. */
export interface Compared {
  readonly provider: string;
  readonly form: UsageExport["form"];
  /** The first day. */
  readonly from: string;
  /** The day behind the last one. */
  readonly to: string;
}

/** The differences for a terminal. */
export function reconcileTable({ differences }: Comparison): string {
  return renderTable(differences, [
    { title: "day", text: ({ day }) => day },
    { title: "model", text: ({ model }) => model },
    { title: "class", text: (row) => row.class },
    ...amountNames.map(
      (title): Column<Difference> => ({
        title,
        text: (row) => (row.class === "cost_usd" ? usdText(row[title]) : String(row[title])),
        align: "right",
      }),
    ),
  ]);
}

/** The same for programs: counts are decimal text, money in USD with nine decimals. */
export function reconcileJson({ differences, comparedCount }: Comparison, compared: Compared): string {
  const rows = differences.map((row) => ({
    day: row.day,
    model: row.model,
    class: row.class,
    ...Object.fromEntries(amountNames.map((name) => [name, amountText(row, row[name])])),
  }));
  return `${JSON.stringify({ ...compared, comparedCount, differences: rows }, null, 2)}\n`;
}

/** The same as CSV, the line of names first. */
export function reconcileCsv({ differences }: Comparison): string {
  const lines = differences.map((row) => {
    // A sign begins a number here and no formula, so these cells go without the guard of texts.
    const amounts = amountNames.map((name) => amountText(row, row[name]));
    return `${csvLine(nameColumns, row).trimEnd()},${amounts.join(",")}\r\n`;
  });
  return `${csvHeader(nameColumns).trimEnd()},${amountNames.join(",")}\r\n${lines.join("")}`;
}

const amountNames = ["exported", "ledger", "difference", "explainable"] as const;

const nameColumns: readonly CsvColumn<Difference>[] = [
  { name: "day", value: ({ day }) => day },
  { name: "model", value: ({ model }) => model },
  { name: "class", value: (row) => row.class },
];

function amountText(row: Difference, amount: bigint): string {
  if (row.class !== "cost_usd") return String(amount);
  return `${amount < 0n ? "-" : ""}${decimalUsd(amount < 0n ? -amount : amount) ?? ""}`;
}
