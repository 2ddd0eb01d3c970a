-- Budgets, their windows, and what pools have leased of them.

create table budgets (
  budget_key bigint generated always as identity primary key,
  budget_id text not null check (budget_id ~ '^[a-z][a-z0-9-]{0,62}$'),
  display_name text not null,
  scope jsonb not null,
  limit_nano_usd bigint not null check (limit_nano_usd >= 0),
  window_kind text not null check (window_kind in ('total', 'hour', 'day', 'week', 'month', 'rolling')),
  span_seconds bigint check (span_seconds >= 60),
  soft_percents jsonb not null check (jsonb_typeof(soft_percents) = 'array'),
  disabled boolean not null default false,
  create_time timestamptz not null default now(),
  delete_time timestamptz,
  revision bigint not null unique,
  check ((span_seconds is not null) = (window_kind = 'rolling'))
);
comment on table budgets is 'How much may be spent, on what, in which span of time. What counts is what tenants pay.';
comment on column budgets.scope is 'weir.account.v1.BudgetScope as proto JSON; a * means each value of its own.';
comment on column budgets.limit_nano_usd is 'The most that may be spent in a window, in 1e-9 USD.';
comment on column budgets.window_kind is 'Calendar windows are of UTC, weeks begin on Monday; rolling: the last span_seconds.';
comment on column budgets.delete_time is 'From when the budget is gone; its id may be used again.';
comment on column budgets.revision is 'Value of budget_revision when the row last changed.';
create unique index budgets_by_id on budgets (budget_id) where delete_time is null;

create table budget_revision (
  singleton boolean primary key default true check (singleton),
  revision bigint not null
);
comment on table budget_revision is
  'Counts changes of budgets. The row stays locked until a change commits, so revisions become visible in their order.';
insert into budget_revision (revision) values (0);

create table budget_windows (
  window_id bigint generated always as identity primary key,
  budget_key bigint not null references budgets,
  subject text not null,
  start_time timestamptz not null,
  spent_nano_usd bigint not null default 0 check (spent_nano_usd >= 0),
  leased_nano_usd bigint not null default 0 check (leased_nano_usd >= 0),
  soft_percent integer not null default 0,
  tight_time timestamptz,
  unique (budget_key, subject, start_time)
);
comment on table budget_windows is
  'How a budget stands. No lease is granted unless spent and leased together stay within the limit.';
comment on column budget_windows.subject is 'The values that * in the scope stands for; empty when there is none.';
comment on column budget_windows.start_time is 'When the window began; -infinity for windows without a beginning.';
comment on column budget_windows.spent_nano_usd is
  'Charges of the attempts that named a lease of the window, in 1e-9 USD; of a rolling window, those whose bucket still counts.';
comment on column budget_windows.leased_nano_usd is 'The sum of outstanding_nano_usd of its leases.';
comment on column budget_windows.soft_percent is 'The highest soft limit whose crossing was told; 0: none.';
comment on column budget_windows.tight_time is 'When a pool was last refused what others had in hand.';

create table budget_buckets (
  window_id bigint not null references budget_windows on delete cascade,
  bucket_time timestamptz not null,
  spent_nano_usd bigint not null,
  primary key (window_id, bucket_time)
);
comment on table budget_buckets is 'What was spent of a rolling window, by sixtieths of its span.';
comment on column budget_buckets.bucket_time is 'When the bucket began.';

create table budget_leases (
  lease_id bigint generated always as identity primary key,
  window_id bigint not null references budget_windows,
  holder uuid not null,
  outstanding_nano_usd bigint not null check (outstanding_nano_usd >= 0),
  granted_total_nano_usd bigint not null,
  returned_total_nano_usd bigint not null default 0,
  expire_time timestamptz not null,
  keep interval not null,
  ended boolean not null default false,
  check (not ended or outstanding_nano_usd = 0)
);
comment on table budget_leases is
  'Money of a window that a pool has in hand. Counted as if it were spent, until it is spent, given back, or the lease ends.';
comment on column budget_leases.holder is 'Id of the pool''s process, new at each start.';
comment on column budget_leases.outstanding_nano_usd is
  'Granted, and neither given back nor taken by the ledger for a recorded attempt.';
comment on column budget_leases.expire_time is 'When the holder takes nothing more from it unless it is renewed; by this database''s clock.';
comment on column budget_leases.keep is
  'How long after that it still covers calls: the longest that one can run and take to reach the ledger. Then it ends.';
create unique index budget_leases_live on budget_leases (window_id, holder) where not ended;

create view budget_burn as
select
  b.budget_id,
  b.display_name,
  b.scope,
  b.window_kind,
  w.subject,
  nullif(w.start_time, '-infinity') as start_time,
  b.limit_nano_usd,
  round(b.limit_nano_usd / 1e9, 9) as limit_usd,
  s.spent_nano_usd,
  round(s.spent_nano_usd / 1e9, 9) as spent_usd,
  w.leased_nano_usd,
  round(w.leased_nano_usd / 1e9, 9) as leased_usd,
  greatest(0, b.limit_nano_usd - s.spent_nano_usd - w.leased_nano_usd) as remaining_nano_usd,
  round(100 * s.spent_nano_usd / nullif(b.limit_nano_usd, 0)::numeric, 2) as spent_percent,
  b.disabled
from budgets b
join budget_windows w using (budget_key)
cross join lateral (
  select case when b.window_kind <> 'rolling' then w.spent_nano_usd else (
    select coalesce(sum(k.spent_nano_usd), 0)::bigint from budget_buckets k
    where k.window_id = w.window_id and k.bucket_time > now() - make_interval(secs => b.span_seconds * (1 + 1 / 60.0))
  ) end as spent_nano_usd
) s
where b.delete_time is null
  and (b.window_kind in ('total', 'rolling')
    or w.start_time = date_trunc(b.window_kind, now() at time zone 'UTC') at time zone 'UTC');
comment on view budget_burn is 'How every budget stands now, by subject.';
comment on column budget_burn.subject is 'The values that * in the scope stands for; empty when there is none.';
comment on column budget_burn.start_time is 'When the present window began; null for windows without a beginning.';
comment on column budget_burn.spent_nano_usd is 'What the ledger has recorded in the window, in 1e-9 USD.';
comment on column budget_burn.leased_nano_usd is
  'What pools hold for calls under way, have in hand, or have spent without the ledger''s knowing, in 1e-9 USD.';
comment on column budget_burn.remaining_nano_usd is 'What is neither spent nor leased, in 1e-9 USD.';
