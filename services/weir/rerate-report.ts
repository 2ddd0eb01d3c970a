import type { RerateChange } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { type CsvColumn, csvHeader, csvLine, decimalUsd } from "@weir/metering/csv";
import { type Column, renderTable, usdText } from "./table.ts";

/** Sums of changes, by day, names and prices. */
export interface ChangeSums {
  add(changes: readonly RerateChange[]): void;
  /** Takes out the changes of days before a day, in their order; undefined: of all days. */
  take(before: string | undefined): readonly RerateChange[];
}

/** Pages of changes come in the order of time, so that no more than a day is held when days are taken as they end. */
export function createChangeSums(): ChangeSums {
  const sums = new Map<string, RerateChange>();
  return {
    add(changes) {
      for (const change of changes) {
        const { day, tenant, provider, model, priceIdBefore, priceId } = change;
        const place = JSON.stringify([day, tenant, provider, model, priceIdBefore, priceId]);
        const sum = sums.get(place);
        const added = {
          attemptCount: change.attemptCount + (sum?.attemptCount ?? 0n),
          costBeforeNanoUsd: change.costBeforeNanoUsd + (sum?.costBeforeNanoUsd ?? 0n),
          costNanoUsd: change.costNanoUsd + (sum?.costNanoUsd ?? 0n),
          chargeBeforeNanoUsd: change.chargeBeforeNanoUsd + (sum?.chargeBeforeNanoUsd ?? 0n),
          chargeNanoUsd: change.chargeNanoUsd + (sum?.chargeNanoUsd ?? 0n),
        };
        sums.set(place, { ...change, ...added });
      }
    },
    take(before) {
      const taken = [...sums].filter(([, { day }]) => before === undefined || day < before);
      for (const [place] of taken) sums.delete(place);
      return taken.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, change]) => change);
    },
  };
}

/** Changes for a terminal; empty for none. */
export function rerateTable(changes: readonly RerateChange[]): string {
  if (changes.length === 0) return "";
  const amount = (title: string, nanoUsd: (row: RerateChange) => bigint): Column<RerateChange> => ({
    title,
    text: (row) => usdText(nanoUsd(row)),
    align: "right",
  });
  return renderTable(changes, [
    { title: "day", text: ({ day }) => day },
    { title: "tenant", text: ({ tenant }) => tenant },
    { title: "provider", text: ({ provider }) => provider },
    { title: "model", text: ({ model }) => model },
    { title: "price", text: ({ priceIdBefore, priceId }) => `${priceIdBefore || "none"} -> ${priceId}` },
    { title: "attempts", text: ({ attemptCount }) => String(attemptCount), align: "right" },
    amount("cost USD", (row) => row.costBeforeNanoUsd),
    amount("becomes", (row) => row.costNanoUsd),
    amount("charge USD", (row) => row.chargeBeforeNanoUsd),
    amount("becomes", (row) => row.chargeNanoUsd),
  ]);
}

/** The line of names of `rerateCsv`. */
export function rerateCsvHeader(): string {
  return csvHeader(csvColumns);
}

/** Changes for programs; money is USD with nine decimals. */
export function rerateCsv(changes: readonly RerateChange[]): string {
  return changes.map((change) => csvLine(csvColumns, change)).join("");
}

const csvColumns: readonly CsvColumn<RerateChange>[] = [
  { name: "day", value: (row) => row.day },
  { name: "tenant", value: (row) => row.tenant },
  { name: "provider", value: (row) => row.provider },
  { name: "model", value: (row) => row.model },
  { name: "price_id_before", value: (row) => row.priceIdBefore },
  { name: "price_id", value: (row) => row.priceId },
  { name: "attempts", value: (row) => row.attemptCount },
  { name: "cost_usd_before", value: (row) => decimalUsd(row.costBeforeNanoUsd) },
  { name: "cost_usd", value: (row) => decimalUsd(row.costNanoUsd) },
  { name: "charge_usd_before", value: (row) => decimalUsd(row.chargeBeforeNanoUsd) },
  { name: "charge_usd", value: (row) => decimalUsd(row.chargeNanoUsd) },
];
