import type { ClientBase } from "pg";
import { changesBetween, type Deed, recordDeed } from "../audit-store.ts";
import { type Confinement, rowsFor } from "../confinement.ts";
import type { Database, Rows } from "../database.ts";
import type { AccountName } from "./windows.ts";

/** How windows follow each other. */
export type WindowKindWord = "total" | "hour" | "day" | "week" | "month" | "rolling";

/** A budget as it is kept. */
export interface BudgetRow {
  readonly budgetId: string;
  readonly displayName: string;
  /** weir.account.v1.BudgetScope as proto JSON. */
  readonly scope: unknown;
  readonly limit: bigint;
  readonly windowKind: WindowKindWord;
  readonly spanSeconds: number | null;
  readonly softPercents: readonly number[];
  readonly disabled: boolean;
  readonly createTime: Date;
  readonly revision: bigint;
  readonly deleted: boolean;
}

export type NewBudget = Pick<
  BudgetRow,
  "budgetId" | "displayName" | "scope" | "limit" | "windowKind" | "spanSeconds" | "softPercents"
>;

/** How a budget stands in one of its present windows. */
export interface StandingRow {
  readonly budgetId: string;
  readonly subject: string;
  /** Null: it has no beginning. */
  readonly startTime: Date | null;
  readonly spent: bigint;
  readonly leased: bigint;
}

/** Which budgets are asked for, by their scope. */
export interface BudgetFilter {
  /** Empty: of any. */
  readonly tenant: string;
  /** Undefined: about any, or about none. */
  readonly key: string | undefined;
}

/** Budgets. Failures are WeirError STORE_UNAVAILABLE. */
export interface BudgetStore {
  /** @returns undefined when the id is taken */
  create(by: Confinement, budget: NewBudget): Promise<BudgetRow | undefined>;
  /** Changes what is given. @returns undefined when there is no such budget */
  update(
    by: Confinement,
    budgetId: string,
    change: {
      readonly limit?: bigint | undefined;
      readonly softPercents?: readonly number[] | undefined;
      readonly disabled?: boolean | undefined;
    },
  ): Promise<BudgetRow | undefined>;
  /** @returns whether there was one */
  remove(by: Confinement, budgetId: string): Promise<boolean>;
  get(by: Confinement, budgetId: string): Promise<BudgetRow | undefined>;
  /** By id. @param by undefined: the gateway itself, which sees all */
  list(
    by: Confinement | undefined,
    filter: BudgetFilter,
    afterBudgetId: string,
    countMax: number,
  ): Promise<readonly BudgetRow[]>;
  /** Present windows of budgets, the one of which most is spent first. */
  standings(budgetIds: readonly string[], countMax: number): Promise<readonly StandingRow[]>;
  /** The newest change that is visible. */
  revision(): Promise<bigint>;
  /** Budgets that changed after a revision, in the order of their changes; deleted ones, too. */
  changed(afterRevision: bigint, countMax: number): Promise<readonly BudgetRow[]>;
  /** Accounts of which somebody was refused within the last seconds what others had in hand. */
  tight(countMax: number): Promise<readonly AccountName[]>;
}

const tightSeconds = 2;

const columns = `budget_id, display_name, scope, limit_nano_usd, window_kind, span_seconds, soft_percents, disabled, create_time,
  revision, delete_time is not null as deleted`;

interface Row {
  readonly budget_id: string;
  readonly display_name: string;
  readonly scope: unknown;
  readonly limit_nano_usd: string;
  readonly window_kind: WindowKindWord;
  readonly span_seconds: string | null;
  readonly soft_percents: number[];
  readonly disabled: boolean;
  readonly create_time: Date;
  readonly revision: string;
  readonly deleted: boolean;
}

export function createBudgetStore(database: Database): BudgetStore {
  const query = (text: string, values: unknown[], rows: Rows = database) =>
    rows.transaction(async (client) => (await client.query<Row>(text, values)).rows.map(fromRow));
  return {
    create: (by, budget) =>
      rowsFor(database, by).transaction(async (client) => {
        const revision = await nextRevision(client);
        const { rows } = await client.query<Row>(
          `insert into budgets (budget_id, display_name, scope, limit_nano_usd, window_kind, span_seconds, soft_percents, revision)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           on conflict (budget_id) where delete_time is null do nothing returning ${columns}`,
          [
            budget.budgetId,
            budget.displayName,
            JSON.stringify(budget.scope),
            String(budget.limit),
            budget.windowKind,
            budget.spanSeconds,
            JSON.stringify(budget.softPercents),
            revision,
          ],
        );
        const [row] = rows.map(fromRow);
        if (row !== undefined) await recordDeed(client, by, deedOf("create", undefined, row));
        return row;
      }),
    update: (by, budgetId, { limit, softPercents, disabled }) =>
      rowsFor(database, by).transaction(async (client) => {
        const before = await lock(client, budgetId);
        if (before === undefined) return undefined;
        const revision = await nextRevision(client);
        const { rows } = await client.query<Row>(
          `update budgets set limit_nano_usd = coalesce($2, limit_nano_usd), soft_percents = coalesce($3, soft_percents),
             disabled = coalesce($4, disabled), revision = $5
           where budget_id = $1 and delete_time is null returning ${columns}`,
          [
            budgetId,
            limit === undefined ? null : String(limit),
            softPercents === undefined ? null : JSON.stringify(softPercents),
            disabled ?? null,
            revision,
          ],
        );
        const [after] = rows.map(fromRow);
        if (after !== undefined) await recordDeed(client, by, deedOf("update", before, after));
        return after;
      }),
    remove: (by, budgetId) =>
      rowsFor(database, by).transaction(async (client) => {
        const before = await lock(client, budgetId);
        if (before === undefined) return false;
        const revision = await nextRevision(client);
        await client.query(
          "update budgets set delete_time = now(), revision = $2 where budget_id = $1 and delete_time is null",
          [budgetId, revision],
        );
        await recordDeed(client, by, deedOf("delete", before, undefined));
        return true;
      }),
    async get(by, budgetId) {
      const text = `select ${columns} from budgets where budget_id = $1 and delete_time is null`;
      return (await query(text, [budgetId], rowsFor(database, by)))[0];
    },
    list: (by, { tenant, key }, afterBudgetId, countMax) =>
      query(
        `select ${columns} from budgets where budget_id > $1 and delete_time is null
           and ($3 = '' or scope ->> 'tenant' = $3) and ($4::text is null or scope ->> 'key' = $4)
         order by budget_id limit $2`,
        [afterBudgetId, countMax, tenant, key ?? null],
        by === undefined ? database : rowsFor(database, by),
      ),
    standings: (budgetIds, countMax) =>
      database.transaction(async (client) => {
        const { rows } = await client.query<{
          budget_id: string;
          subject: string;
          start_time: Date | null;
          spent_nano_usd: string;
          leased_nano_usd: string;
        }>(
          `select budget_id, subject, start_time, spent_nano_usd, leased_nano_usd from (
             select *, row_number() over (partition by budget_id order by spent_nano_usd desc, subject) as place
             from budget_burn where budget_id = any($1::text[])) w
           where place <= $2 order by budget_id, place`,
          [budgetIds, countMax],
        );
        return rows.map((row) => ({
          budgetId: row.budget_id,
          subject: row.subject,
          startTime: row.start_time,
          spent: BigInt(row.spent_nano_usd),
          leased: BigInt(row.leased_nano_usd),
        }));
      }),
    revision: () =>
      database.transaction(async (client) => {
        const { rows } = await client.query<{ revision: string }>("select revision from budget_revision");
        return BigInt(rows[0]?.revision ?? 0);
      }),
    changed: (afterRevision, countMax) =>
      query(`select ${columns} from budgets where revision > $1 order by revision limit $2`, [
        String(afterRevision),
        countMax,
      ]),
    tight: (countMax) =>
      database.transaction(async (client) => {
        const { rows } = await client.query<{ budget_id: string; subject: string }>(
          `select b.budget_id, w.subject from budget_windows w join budgets b using (budget_key)
           where w.tight_time > now() - make_interval(secs => ${tightSeconds}) limit $1`,
          [countMax],
        );
        return rows.map((row) => ({ budget: row.budget_id, subject: row.subject }));
      }),
  };
}

function fromRow(row: Row): BudgetRow {
  return {
    budgetId: row.budget_id,
    displayName: row.display_name,
    scope: row.scope,
    limit: BigInt(row.limit_nano_usd),
    windowKind: row.window_kind,
    spanSeconds: row.span_seconds === null ? null : Number(row.span_seconds),
    softPercents: row.soft_percents,
    disabled: row.disabled,
    createTime: row.create_time,
    revision: BigInt(row.revision),
    deleted: row.deleted,
  };
}

async function lock(client: ClientBase, budgetId: string): Promise<BudgetRow | undefined> {
  const { rows } = await client.query<Row>(
    `select ${columns} from budgets where budget_id = $1 and delete_time is null for update`,
    [budgetId],
  );
  return rows.map(fromRow)[0];
}

function deedOf(verb: string, before: BudgetRow | undefined, after: BudgetRow | undefined): Deed {
  const { budgetId, scope } = (after ?? before) as BudgetRow;
  const tenant = (scope as { readonly tenant?: string }).tenant ?? "";
  return {
    action: `budgets.${verb}`,
    tenantId: tenant === "" || tenant === "*" ? null : tenant,
    resource: `budgets/${budgetId}`,
    changes: changesBetween(before && fieldsOf(before), after && fieldsOf(after)),
  };
}

function fieldsOf({ displayName, scope, limit, windowKind, spanSeconds, softPercents, disabled }: BudgetRow) {
  return {
    display_name: displayName,
    scope,
    limit_nano_usd: String(limit),
    window: spanSeconds === null ? windowKind : `${windowKind} of ${spanSeconds} s`,
    soft_percents: softPercents,
    disabled,
  };
}

/** Takes the next revision; others who want one wait until this transaction ends. */
async function nextRevision(client: ClientBase): Promise<string> {
  const { rows } = await client.query<{ revision: string }>(
    "update budget_revision set revision = revision + 1 returning revision",
  );
  const revision = rows[0]?.revision;
  if (revision === undefined) throw new Error("budget_revision is empty");
  return revision;
}
