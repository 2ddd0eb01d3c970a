import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { BudgetRecordSchema, type BudgetScopeSchema } from "@weir/gen/weir/account/v1/budget_service_pb";
import { expect, test } from "vitest";
import { ScopeIndex, type Spender } from "./scope-index.ts";

const spender: Spender = {
  principal: { tenant: "acme", key: "k", user: "ann", tags: { team: "search" } },
  alias: "fast",
  target: { provider: "openai", model: "gpt-4o" },
};

function indexOf(scopes: Readonly<Record<string, MessageInitShape<typeof BudgetScopeSchema>>>): ScopeIndex {
  const index = new ScopeIndex();
  for (const [id, scope] of Object.entries(scopes)) index.put(create(BudgetRecordSchema, { id, scope }));
  return index;
}

const idsOf = (index: ScopeIndex, by = spender) => index.accountsOf(by).map(({ budget }) => budget);

test("a budget is about calls that meet all that its scope says", () => {
  const index = indexOf({
    all: {},
    tenant: { tenant: "acme" },
    "other-tenant": { tenant: "other" },
    key: { tenant: "acme", key: "k" },
    "other-key": { tenant: "acme", key: "x" },
    user: { user: "ann" },
    tag: { tag: "team=search" },
    "other-tag": { tag: "team=ads" },
    "no-tag": { tag: "constructor=x" },
    alias: { alias: "fast" },
    model: { model: "openai/gpt-4o" },
    "other-model": { model: "gpt-4o" },
    both: { user: "ann", alias: "slow" },
  });
  expect(idsOf(index)).toEqual(["alias", "all", "key", "model", "tag", "tenant", "user"]);
});

test("a star makes a budget for each value, the empty user among them", () => {
  const index = indexOf({ each: { tenant: "*", user: "*" } });
  expect(index.accountsOf(spender)).toEqual([{ budget: "each", subject: "acme\nann" }]);
  const nameless = { ...spender, principal: { ...spender.principal, user: "" } };
  expect(index.accountsOf(nameless)).toEqual([{ budget: "each", subject: "acme\n" }]);
});

test("a tenant that no budget is about costs one look, and a budget that is gone is about nobody", () => {
  const index = indexOf({ a: { tenant: "acme" } });
  expect(index.concerns("acme")).toBe(true);
  expect(index.concerns("other")).toBe(false);
  index.put(create(BudgetRecordSchema, { id: "a", scope: { tenant: "other" } }));
  expect(idsOf(index)).toEqual([]);
  index.remove("a");
  expect(index.concerns("other")).toBe(false);
  expect(index.size).toBe(0);
});
