import type { BudgetRecord, BudgetScope } from "@weir/gen/weir/account/v1/budget_service_pb";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";

/** Whose call it is, and where it goes: everything that a budget can be about. */
export interface Spender {
  readonly principal: Pick<Principal, "tenant" | "key" | "user" | "tags">;
  readonly alias: string;
  readonly target: Pick<Target, "provider" | "model">;
}

/** The part of a budget that is about one subject. */
export interface AccountName {
  readonly budget: string;
  readonly subject: string;
}

/** Which budgets are about a call. Pure. */
export class ScopeIndex {
  private readonly byId = new Map<string, BudgetRecord>();
  private readonly byTenant = new Map<string, Set<BudgetRecord>>();
  /** Of no tenant in particular. */
  private readonly general = new Set<BudgetRecord>();

  get size(): number {
    return this.byId.size;
  }

  ids(): Iterable<string> {
    return this.byId.keys();
  }

  put(record: BudgetRecord): void {
    this.remove(record.id);
    this.byId.set(record.id, record);
    const tenant = tenantOf(record);
    if (tenant === undefined) {
      this.general.add(record);
      return;
    }
    const records = this.byTenant.get(tenant);
    if (records === undefined) this.byTenant.set(tenant, new Set([record]));
    else records.add(record);
  }

  remove(id: string): void {
    const record = this.byId.get(id);
    if (record === undefined) return;
    this.byId.delete(id);
    this.general.delete(record);
    const tenant = tenantOf(record) ?? "";
    const records = this.byTenant.get(tenant);
    records?.delete(record);
    if (records?.size === 0) this.byTenant.delete(tenant);
  }

  /** Whether any budget can be about a tenant's calls. */
  concerns(tenant: string): boolean {
    return this.general.size > 0 || this.byTenant.has(tenant);
  }

  /** The accounts that a call is charged to, in the order of the budgets' ids. */
  accountsOf(spender: Spender): AccountName[] {
    const records = [...(this.byTenant.get(spender.principal.tenant) ?? []), ...this.general];
    return records
      .flatMap((record) => {
        const subject = subjectOf(record.scope, spender);
        return subject === undefined ? [] : [{ budget: record.id, subject }];
      })
      .sort((a, b) => (a.budget < b.budget ? -1 : 1));
  }
}

/** The one tenant that a budget is about. */
function tenantOf({ scope }: BudgetRecord): string | undefined {
  return scope === undefined || scope.tenant === "" || scope.tenant === "*" ? undefined : scope.tenant;
}

/** @param tag `name=value` */
function bears({ principal: { tags } }: Spender, tag: string): boolean {
  const at = tag.indexOf("=");
  const name = tag.slice(0, at);
  return Object.hasOwn(tags, name) && tags[name] === tag.slice(at + 1);
}

/** The values that `*` in a scope stands for; undefined when the scope does not hold for the call. */
function subjectOf(scope: BudgetScope | undefined, spender: Spender): string | undefined {
  if (scope === undefined) return "";
  if (scope.tag !== "" && !bears(spender, scope.tag)) return undefined;
  const subjects: string[] = [];
  const holds = (wanted: string, value: string): boolean => {
    if (wanted === "*") subjects.push(value);
    return wanted === "" || wanted === "*" || wanted === value;
  };
  const { principal, alias, target } = spender;
  const all =
    holds(scope.tenant, principal.tenant) &&
    holds(scope.key, principal.key) &&
    holds(scope.user, principal.user) &&
    holds(scope.alias, alias) &&
    holds(scope.model, `${target.provider}/${target.model}`);
  return all ? subjects.join("\n") : undefined;
}
