import { closeSync, openSync, readSync } from "node:fs";
import type { AttemptRecord } from "@weir/simulator/simulator";
import { brokenLaws, createLedgerReader, expectedCost } from "../ledger.ts";
import { price } from "./setting.ts";
import { ledgerFaults } from "./verdict.ts";

/** What is wrong with the ledger of one trial. */
export interface Finding {
  readonly faults: readonly string[];
  /** Attempts that the simulator served and that have no row, and what they cost in nano-USD. */
  readonly missing: readonly { readonly id: string; readonly end: string; readonly nanoUsd: bigint }[];
}

/** Compares the simulator's own file with the ledger's database, and knows nothing else. */
export interface Check {
  /** @param tag end user of the trial's rows, and the model that it called */
  findingOf(tag: string): Promise<Finding>;
  close(): Promise<void>;
}

/**
 * From now on the database also notes every state of a budget's window in which more is spent and leased than its limit
 * allows, in the transaction that makes it so.
 * @param countFile as the simulator writes it
 */
export async function createCheck(countFile: string, databaseUrl: string): Promise<Check> {
  const ledger = createLedgerReader(databaseUrl);
  const count = createCountReader(countFile);
  await ledger.query(watchLimits);
  return {
    async findingOf(tag) {
      const rows = await ledger.rows({ endUser: tag });
      const served = count.of(tag);
      const known = new Set(rows.map(({ attemptId }) => attemptId));
      const missing = served
        .filter(({ id }) => !known.has(id))
        .map(({ id, end, inputTokens, outputTokens }) => {
          return { id, end, nanoUsd: expectedCost(price, inputTokens, 0, outputTokens) };
        });
      const found = ledgerFaults(
        rows,
        served.filter(({ id }) => known.has(id)),
      );
      const broken = [
        ...(await brokenLaws(ledger, tag)),
        ...(await ledger.query<Broken>(brokenBudgets, [tag])).map(told),
      ];
      return { faults: [...found, ...broken], missing };
    },
    close: () => ledger.close(),
  };
}

/** The records of each model, of which the file is read only as far as it has grown. */
function createCountReader(countFile: string): { of(model: string): readonly AttemptRecord[] } {
  const records = new Map<string, AttemptRecord[]>();
  const chunk = Buffer.alloc(1 << 16);
  let offset = 0;
  let rest = "";
  return {
    of(model) {
      const file = openSync(countFile, "r");
      try {
        for (let read = 1; read > 0; ) {
          read = readSync(file, chunk, 0, chunk.length, offset);
          offset += read;
          rest += chunk.toString("latin1", 0, read);
        }
      } finally {
        closeSync(file);
      }
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const record = JSON.parse(line) as AttemptRecord;
        const own = records.get(record.model) ?? [];
        records.set(record.model, own);
        own.push(record);
      }
      return records.get(model) ?? [];
    },
  };
}

const watchLimits = `
  create table if not exists public.beyond_limits (window_id bigint, nano_usd bigint);
  create or replace function public.note_beyond_limit() returns trigger language plpgsql security definer as $$
  begin
    insert into public.beyond_limits
    select new.window_id, new.spent_nano_usd + new.leased_nano_usd - limit_nano_usd from public.budgets
    where budget_key = new.budget_key and new.spent_nano_usd + new.leased_nano_usd > limit_nano_usd;
    return null;
  end $$;
  create or replace trigger note_beyond_limit after insert or update on public.budget_windows
    for each row execute function public.note_beyond_limit()`;

interface Broken extends Record<string, unknown> {
  readonly budget_id: string;
  readonly what: string;
  readonly amount: string;
}

const told = ({ budget_id, what, amount }: Broken): string => `budget ${budget_id}: ${what} ${amount} nano-USD`;

/** Of the budget for each user, and of those for this one. The latter may be younger than the first rows. */
const brokenBudgets = `
  with own as (
    select w.*, b.budget_id, w.subject <> '' as always from budget_windows w join budgets b using (budget_key)
    where w.subject = $1 or b.scope ->> 'user' = $1),
  charged as (select coalesce(sum(charge_nano_usd), 0) as nano_usd from attempts where end_user = $1),
  found as (
    select budget_id, 'spent and leased went beyond the limit by' as what, max(b.nano_usd)::text as amount
    from own join beyond_limits b using (window_id) group by budget_id
    union all
    select budget_id, 'spent differs from what rows charge by', (spent_nano_usd - nano_usd)::text from own, charged
    where spent_nano_usd > nano_usd or (always and spent_nano_usd <> nano_usd)
    union all
    select budget_id, 'leased differs from its leases by', (leased_nano_usd - outstanding)::text from (
      select own.budget_id, own.leased_nano_usd,
        (select coalesce(sum(outstanding_nano_usd), 0) from budget_leases l where l.window_id = own.window_id) as outstanding
      from own) as sums where leased_nano_usd <> outstanding)
  select budget_id, what, amount from found`;
