import { create, fromJson, type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  BudgetRecordSchema,
  BudgetSchema,
  type BudgetScope,
  BudgetScopeSchema,
  type BudgetService,
  BudgetStandingSchema,
  type BudgetWindow,
  LeaseOutcome,
  LeaseSchema,
  type WatchBudgetsResponseSchema,
  WindowKind,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { type Confinement, confinementOf, tenantFor } from "../confinement.ts";
import type { BudgetRow, BudgetStore, StandingRow, WindowKindWord } from "./budget-store.ts";
import { type GroupResult, leaseMs, type LeaseAsk, type LeaseState, type LeaseStore } from "./lease-store.ts";
import { readPage } from "../list-page.ts";
import type { Waiting } from "../waiting.ts";

export interface BudgetServiceDeps {
  readonly budgets: BudgetStore;
  readonly leases: LeaseStore;
  readonly clock: Clock;
  /** Of the streams of WatchBudgets. */
  readonly waiting: Waiting;
}

/** Changes made elsewhere show after this long at most; the contract says half a second. */
const pollMs = 400;
const signOfLifeMs = 1_000;
const recordsAtOnce = 500;
const standingCountMax = 100;
const tightCountMax = 1_000;
const rollingSpanMinSeconds = 60;

export function createBudgetService({
  budgets,
  leases,
  clock,
  waiting,
}: BudgetServiceDeps): ServiceImpl<typeof BudgetService> {
  async function describe(rows: readonly BudgetRow[]) {
    const standings = await budgets.standings(
      rows.map(({ budgetId }) => budgetId),
      standingCountMax,
    );
    const byBudget = Map.groupBy(standings, ({ budgetId }) => budgetId);
    return rows.map((row) => toProtoBudget(row, byBudget.get(row.budgetId) ?? []));
  }

  async function describeOne(row: BudgetRow | undefined, name: string) {
    const [budget] = row === undefined ? [] : await describe([row]);
    if (budget === undefined) throw notFound(name);
    return { budget };
  }

  return {
    async createBudget(request, context) {
      const by = confinementOf(context);
      const { budgetId } = request;
      const scope = scopeFor(by, request.scope);
      if (by.tenant !== undefined && !budgetId.startsWith(`${by.tenant}.`)) {
        throw invalid("budget_id", `\`budget_id\` must begin with \`${by.tenant}.\`, the tenant's id and a point.`);
      }
      const { windowKind, spanSeconds } = fromProtoWindow(request.window);
      const row = await budgets.create(by, {
        budgetId,
        displayName: request.displayName.toWellFormed(),
        scope: toJson(BudgetScopeSchema, scope),
        limit: request.limitNanoUsd,
        windowKind,
        spanSeconds,
        softPercents: request.softPercents,
      });
      if (row === undefined) {
        throw new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: `budgets/${budgetId}` } });
      }
      waiting.wakeAll();
      return { budget: toProtoBudget(row, []) };
    },

    async listBudgets(request, context) {
      const by = confinementOf(context);
      const tenant = request.tenant.replace(/^tenants\//, "");
      const { rows, nextPageToken } = await readPage(
        request,
        ["budgets", tenant],
        // A member sees what is about its key alone.
        ([after = ""], countMax) => budgets.list(by, { tenant, key: by.key }, after, countMax),
        (row) => [row.budgetId],
      );
      return { budgets: await describe(rows), nextPageToken };
    },

    async getBudget({ name }, context) {
      const by = confinementOf(context);
      const row = await budgets.get(by, idOf(name));
      return describeOne(row !== undefined && isVisible(row, by) ? row : undefined, name);
    },

    async updateBudget({ name, limitNanoUsd, softLimits, disabled }, context) {
      const row = await budgets.update(confinementOf(context), idOf(name), {
        limit: limitNanoUsd,
        softPercents: softLimits?.percents,
        disabled,
      });
      waiting.wakeAll();
      return describeOne(row, name);
    },

    async deleteBudget({ name }, context) {
      if (!(await budgets.remove(confinementOf(context), idOf(name)))) throw notFound(name);
      waiting.wakeAll();
      return {};
    },

    // Nothing is buffered here: each stream reads the store at its reader's pace.
    async *watchBudgets(_, { signal }): AsyncGenerator<MessageInitShape<typeof WatchBudgetsResponseSchema>> {
      // Taken before the snapshot: a change in between is sent twice, never missed.
      let revision = await budgets.revision();
      let page: readonly BudgetRow[] = [];
      do {
        page = await budgets.list(undefined, everyBudget, page.at(-1)?.budgetId ?? "", recordsAtOnce);
        yield {
          records: page.filter((row) => !row.disabled).map(toProtoRecord),
          complete: page.length < recordsAtOnce,
        };
      } while (page.length === recordsAtOnce && !signal.aborted);
      let sentMs = clock.monotonic();
      while (!signal.aborted && !waiting.isOver) {
        const rows = await budgets.changed(revision, recordsAtOnce);
        const tight = await budgets.tight(tightCountMax);
        if (rows.length > 0 || tight.length > 0 || clock.monotonic() - sentMs >= signOfLifeMs) {
          sentMs = clock.monotonic();
          const removed = rows.filter(isOff).map((row) => row.budgetId);
          yield { records: rows.filter((row) => !isOff(row)).map(toProtoRecord), removed, tight: [...tight] };
        }
        revision = rows.at(-1)?.revision ?? revision;
        if (rows.length === recordsAtOnce) continue;
        await waiting.wait(Math.min(pollMs, Math.max(0, sentMs + signOfLifeMs - clock.monotonic())), signal);
      }
    },

    async acquireLeases({ holder, keep, groups }) {
      const asked = groups.map(({ asks }) =>
        asks.map(({ account, leaseId, neededNanoUsd, preferredNanoUsd }): LeaseAsk => {
          if (account === undefined) throw invalid("groups.asks.account");
          return { account, leaseId, needed: neededNanoUsd, preferred: preferredNanoUsd };
        }),
      );
      const answer = await leases.acquire(holder, keep === undefined ? 0 : durationMs(keep), asked);
      if (answer.results.some(({ outcome }) => outcome === "held")) waiting.wakeAll();
      return { results: answer.results.map(toProtoResult), leases: answer.leases.map(toProtoLease) };
    },

    async renewLeases({ holder, leases: returns }) {
      const answer = await leases.renew(
        holder,
        returns.map(({ leaseId, returnedTotalNanoUsd, forgotten, grantedTotalNanoUsd }) => ({
          leaseId,
          returnedTotal: returnedTotalNanoUsd,
          forgotten,
          grantedTotal: grantedTotalNanoUsd,
        })),
      );
      return { leases: answer.leases.map(toProtoLease), ended: [...answer.ended] };
    },
  };
}

function idOf(name: string): string {
  if (name.startsWith("budgets/")) return name.slice("budgets/".length);
  throw invalid("name");
}

function notFound(name: string): WeirError {
  return new WeirError(ErrorReason.NOT_FOUND, { text: "There is no such budget.", metadata: { resource: name } });
}

function invalid(param: string, text = `\`${param}\` is missing or malformed.`): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param } });
}

/**
 * What a budget is to be about: of a caller that is confined, its tenant.
 * @throws WeirError NOT_FOUND for another tenant, or for all of them at once
 */
function scopeFor(by: Confinement, asked: BudgetScope | undefined): BudgetScope {
  const scope = asked ?? create(BudgetScopeSchema);
  if (by.tenant === undefined) return scope;
  const tenant = tenantFor(by, scope.tenant === "" ? "" : `tenants/${scope.tenant}`);
  return create(BudgetScopeSchema, { ...scope, tenant });
}

/** A member sees what is about its key alone. */
function isVisible(row: BudgetRow, { key }: Confinement): boolean {
  return key === undefined || scopeOf(row).key === key;
}

const everyBudget = { tenant: "", key: undefined };

const isOff = (row: BudgetRow): boolean => row.disabled || row.deleted;

/** A scope that a later version wrote may have fields that this one does not know. */
function scopeOf(row: BudgetRow) {
  return fromJson(BudgetScopeSchema, row.scope as JsonValue, { ignoreUnknownFields: true });
}

const kindWords: Partial<Record<WindowKind, WindowKindWord>> = {
  [WindowKind.TOTAL]: "total",
  [WindowKind.HOUR]: "hour",
  [WindowKind.DAY]: "day",
  [WindowKind.WEEK]: "week",
  [WindowKind.MONTH]: "month",
  [WindowKind.ROLLING]: "rolling",
};
const kindsByWord = new Map(Object.entries(kindWords).map(([kind, word]) => [word, Number(kind) as WindowKind]));

function fromProtoWindow(window: BudgetWindow | undefined): {
  readonly windowKind: WindowKindWord;
  readonly spanSeconds: number | null;
} {
  const windowKind = kindWords[window?.kind ?? WindowKind.UNSPECIFIED];
  if (windowKind === undefined) throw invalid("window.kind");
  const span = window?.span;
  if ((windowKind === "rolling") !== (span !== undefined)) {
    throw invalid("window.span", "`window.span` is for rolling windows, which need it.");
  }
  if (span === undefined) return { windowKind, spanSeconds: null };
  const spanSeconds = Math.round(durationMs(span) / 1_000);
  if (spanSeconds < rollingSpanMinSeconds) throw invalid("window.span");
  return { windowKind, spanSeconds };
}

function toProtoBudget(row: BudgetRow, standings: readonly StandingRow[]) {
  return create(BudgetSchema, {
    name: `budgets/${row.budgetId}`,
    displayName: row.displayName,
    scope: scopeOf(row),
    limitNanoUsd: row.limit,
    window: {
      kind: kindsByWord.get(row.windowKind) ?? WindowKind.UNSPECIFIED,
      ...(row.spanSeconds === null ? {} : { span: durationFromMs(row.spanSeconds * 1_000) }),
    },
    softPercents: [...row.softPercents],
    disabled: row.disabled,
    createTime: timestampFromDate(row.createTime),
    standings: standings.map(({ subject, startTime, spent, leased }) =>
      create(BudgetStandingSchema, {
        subject,
        ...(startTime === null ? {} : { startTime: timestampFromDate(startTime) }),
        spentNanoUsd: spent,
        leasedNanoUsd: leased,
      }),
    ),
  });
}

function toProtoRecord(row: BudgetRow) {
  return create(BudgetRecordSchema, { id: row.budgetId, scope: scopeOf(row) });
}

const outcomes = {
  granted: LeaseOutcome.GRANTED,
  gone: LeaseOutcome.GONE,
  spent: LeaseOutcome.SPENT,
  held: LeaseOutcome.HELD,
} as const;

function toProtoResult(result: GroupResult) {
  const outcome = outcomes[result.outcome];
  if (result.outcome === "granted") return { outcome };
  if (result.outcome === "gone") return { outcome, account: result.account };
  const { account, unspent, windowEndsInMs } = result;
  return { outcome, account, unspentNanoUsd: unspent, ...endsIn(windowEndsInMs) };
}

function toProtoLease({ leaseId, account, grantedTotal, windowEndsInMs, remaining, softPercent }: LeaseState) {
  return create(LeaseSchema, {
    leaseId,
    account,
    grantedTotalNanoUsd: grantedTotal,
    expiresIn: durationFromMs(leaseMs),
    ...endsIn(windowEndsInMs),
    remainingNanoUsd: remaining,
    softPercent,
  });
}

function endsIn(windowEndsInMs: number | null) {
  return windowEndsInMs === null ? {} : { windowEndsIn: durationFromMs(windowEndsInMs) };
}
