import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { metrics } from "@opentelemetry/api";
import { BudgetService, WatchBudgetsResponseSchema } from "@weir/gen/weir/account/v1/budget_service_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { expect, test, vi } from "vitest";
import { createBudgets } from "./budgets.ts";

const never = new AbortController().signal;

test("a caller's next call is charged by what it is and by the budgets that there are, whatever the one before was", async () => {
  let tell: ((message: MessageInitShape<typeof WatchBudgetsResponseSchema>) => void) | undefined;
  const service = hostService(BudgetService, {
    async *watchBudgets(_request: unknown, { signal }: { signal: AbortSignal }) {
      const chat = { id: "chat", scope: { tenant: "acme", alias: "chat" } };
      yield create(WatchBudgetsResponseSchema, { records: [chat], complete: true });
      while (!signal.aborted) {
        yield await new Promise<ReturnType<typeof create<typeof WatchBudgetsResponseSchema>>>((resolve) => {
          tell = (message) => resolve(create(WatchBudgetsResponseSchema, message));
          signal.addEventListener("abort", () => resolve(create(WatchBudgetsResponseSchema)));
        });
      }
    },
  });
  const budgets = createBudgets({
    service: createClient(BudgetService, createLocalDoor([service])),
    holder: "11111111-1111-4111-8111-111111111111",
    keepMs: () => 60_000,
    clock: systemClock,
    random: Math.random,
    meter: metrics.getMeter("test"),
    log: silentLog,
  });
  budgets.begin();
  const principal = create(PrincipalSchema, { tenant: "acme", key: "k" });
  /** Whether a budget is about the call: nobody knows what it costs, which is refused then. */
  const isCharged = (alias: string, model: string): boolean => {
    const spender = { principal, alias, target: { provider: "sim", model } };
    const call = { spender, price: undefined, body: new Uint8Array(), stream: false, outputTokensMax: 1 };
    try {
      void budgets.hold(call, () => never);
      return false;
    } catch {
      return true;
    }
  };
  try {
    await budgets.about({ principal, alias: "chat", target: { provider: "sim", model: "large" } });
    expect([isCharged("chat", "large"), isCharged("draw", "large"), isCharged("chat", "large")]).toEqual([
      true,
      false,
      true,
    ]);
    tell?.({ records: [{ id: "small", scope: { tenant: "acme", model: "sim/small" } }] });
    await vi.waitFor(() => expect(isCharged("draw", "small")).toBe(true));
    expect(isCharged("draw", "large")).toBe(false);
    tell?.({ removed: ["chat"] });
    await vi.waitFor(() => expect(isCharged("chat", "large")).toBe(false));
    expect(isCharged("chat", "small")).toBe(true);
  } finally {
    await budgets.close();
  }
});
