import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { bearing } from "@weir/kit/client";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import type { LedgerReader } from "../ledger.ts";

/** Who runs the gateway of a scenario. */
export interface Operator {
  /** Makes the tenant of all trials, and a budget for each of its users, which none of them will ever spend. @returns a key */
  createTenant(): Promise<string>;
  /** A budget without a beginning or an end for one user, that is for one trial. */
  createBudget(budgetId: string, user: string, limitNanoUsd: bigint): Promise<void>;
  close(): Promise<void>;
}

/** The budget that every trial has. */
export const eachUser = "each-user";

const timeoutMs = 10_000;

/** How many pools have leased of that budget. One that has not heard of it yet charges nothing to it. */
export async function poolsWithBudget(ledger: LedgerReader): Promise<number> {
  const [row] = await ledger.query<{ pools: number }>(
    `select count(distinct holder)::int as pools from budget_leases
     join budget_windows using (window_id) join budgets using (budget_key) where budget_id = $1`,
    [eachUser],
  );
  return row?.pools ?? 0;
}

/** @param address where metering listens */
export async function connectOperator(address: string): Promise<Operator> {
  const mesh = createMesh({ name: "operator", peers: { metering: [address] } });
  const accounts = bearing(mesh.client(AccountService, "metering"), operatorMetadata);
  const budgets = bearing(mesh.client(BudgetService, "metering"), operatorMetadata);
  await mesh.start();

  async function createBudget(budgetId: string, user: string, limitNanoUsd: bigint): Promise<void> {
    const window = { kind: WindowKind.TOTAL };
    await budgets.createBudget({ budgetId, limitNanoUsd, window, scope: { tenant: "tests", user } }, { timeoutMs });
  }

  return {
    async createTenant() {
      await accounts.createTenant({ tenantId: "tests", displayName: "Tests" }, { timeoutMs });
      await createBudget(eachUser, "*", 9n * 10n ** 15n);
      const { secret } = await accounts.createKey({ tenant: "tenants/tests", displayName: "test" }, { timeoutMs });
      return secret;
    },
    createBudget,
    close: () => mesh.close(),
  };
}
