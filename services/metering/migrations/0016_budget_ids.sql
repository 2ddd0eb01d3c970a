-- Budgets that tenants make for themselves begin with their ids, so that no tenant takes a name from another. What there is
-- keeps its id.
alter table budgets drop constraint budgets_budget_id_check;
alter table budgets add constraint budgets_budget_id_check
  check (budget_id ~ '^[a-z][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,39})?$') not valid;
alter table budgets validate constraint budgets_budget_id_check;
