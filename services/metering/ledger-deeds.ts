import type { ClientBase } from "pg";
import type { Adjustment, AdjustmentRun } from "./adjustments.ts";
import { changesBetween, recordDeed } from "./audit-store.ts";
import { type Confinement, operator } from "./confinement.ts";

// What is done to the ledger beside recording usage. Where nobody calls, it is done by whoever runs the gateway, by its
// configuration. Each of these is called in the transaction that does it, and writes nothing when nothing was done.

/**
 * Attempts that were priced anew or trued up: `ledger.rerate`, `ledger.true_up`. A run that asked for one tenant's is that
 * tenant's to see; another is about no tenant in particular, since its sums are.
 * @param by who asked for it
 */
export async function recordAdjusted(
  client: ClientBase,
  by: Confinement,
  { reason, question }: AdjustmentRun,
  adjustments: readonly Adjustment[],
): Promise<void> {
  if (adjustments.length === 0) return;
  const sum = (amount: (adjustment: Adjustment) => bigint | null) =>
    String(adjustments.reduce((total, adjustment) => total + (amount(adjustment) ?? 0n), 0n));
  const before = {
    cost_nano_usd: sum(({ standing }) => standing.priced.costNanoUsd),
    charge_nano_usd: sum(({ standing }) => standing.priced.chargeNanoUsd),
  };
  const after = {
    ...question,
    attempts: adjustments.length,
    cost_nano_usd: sum(({ priced }) => priced.costNanoUsd),
    charge_nano_usd: sum(({ priced }) => priced.chargeNanoUsd),
  };
  const { tenant } = question;
  const tenantId = typeof tenant === "string" && tenant !== "" ? tenant : null;
  const changes = changesBetween(before, after);
  await recordDeed(client, by, { action: `ledger.${reason}`, tenantId, resource: "ledger", changes });
}

/** A list of prices that is in force from now on: `prices.apply`. @param before ids; undefined: it is the first list */
export async function recordPrices(
  client: ClientBase,
  before: readonly string[] | undefined,
  after: readonly string[],
): Promise<void> {
  const [old, now] = [new Set(before), new Set(after)];
  await record(
    client,
    operator,
    "prices.apply",
    "prices",
    { count: before?.length, ids: before?.filter((id) => !now.has(id)) },
    { count: after.length, ids: after.filter((id) => !old.has(id)) },
  );
}

/** Attempts that had no price and have one now: `ledger.backfill`. */
export async function recordBackfilled(
  client: ClientBase,
  target: { readonly provider: string; readonly model: string },
  attempts: number,
): Promise<void> {
  if (attempts > 0) await record(client, operator, "ledger.backfill", "ledger", undefined, { ...target, attempts });
}

/** A month whose rows are gone, its sums kept: `ledger.retire`. @param month `2026_11` */
export async function recordRetired(client: ClientBase, month: string): Promise<void> {
  await record(client, operator, "ledger.retire", `months/${month}`, undefined, undefined);
}

/** Events of a journal that the command line brought: `ledger.adopt`. */
export async function recordAdopted(client: ClientBase, journalId: string, attempts: number): Promise<void> {
  if (attempts > 0) await record(client, operator, "ledger.adopt", `journals/${journalId}`, undefined, { attempts });
}

function record(
  client: ClientBase,
  by: Confinement,
  action: string,
  resource: string,
  before: Readonly<Record<string, unknown>> | undefined,
  after: Readonly<Record<string, unknown>> | undefined,
): Promise<void> {
  return recordDeed(client, by, { action, tenantId: null, resource, changes: changesBetween(before, after) });
}
