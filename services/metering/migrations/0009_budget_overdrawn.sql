-- A lease that was charged beyond what it had can have nothing left while charges of other calls are still to come.
alter table budget_leases add column overdrawn boolean not null default false;
comment on column budget_leases.overdrawn is
  'More was charged to it than it had: what is left of it does not say whether charges may still come.';
