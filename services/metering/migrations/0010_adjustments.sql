-- What is known only later of attempts that stand: their price, or what their provider counted. Attempts and transfers stay
-- as they were written; adjustments stand beside them and are never changed either.

alter table attempts add column charge_max_nano_usd bigint;
comment on column attempts.charge_max_nano_usd is
  'The most that the tenant pays, since budgets set no more aside, in 1e-9 USD; null: no bound, or none that is known.';

create table price_lists (
  list_number bigint generated always as identity primary key,
  told_time timestamptz not null,
  price_ids jsonb not null check (jsonb_typeof(price_ids) = 'array')
);
comment on table price_lists is
  'Which prices were in the list that metering was told, written each time it changed: what was known as of a time.';
comment on column price_lists.told_time is 'Grows with list_number: lists are written one after another.';
comment on column price_lists.price_ids is 'In the order of their bytes.';

create table adjustment_runs (
  run_id text primary key check (run_id ~ '^[0-9a-f]{32}$'),
  reason text not null check (reason in ('rerate', 'true_up')),
  question jsonb not null,
  create_time timestamptz not null default now()
);
comment on table adjustment_runs is 'What adjustments were made for.';
comment on column adjustment_runs.run_id is 'Digest of reason and question, so that the same run has the same id wherever it is made.';
comment on column adjustment_runs.question is 'What was asked for, as JSON.';
comment on column adjustment_runs.create_time is
  'When its first adjustment was written; the one thing that differs when a run is made on a copy of the ledger.';

create table adjustments (
  attempt_id uuid not null,
  number integer not null check (number > 0),
  run_id text not null references adjustment_runs,
  tenant text not null,
  price_id text not null,
  pricing text not null check (pricing in ('priced', 'unpriced', 'price_unknown', 'usage_unknown', 'out_of_range')),
  cost_nano_usd bigint not null,
  charge_nano_usd bigint not null,
  input_tokens bigint not null,
  cached_input_tokens bigint not null,
  cache_write_tokens bigint not null,
  cache_write_long_tokens bigint not null,
  output_tokens bigint not null,
  reasoning_tokens bigint not null,
  primary key (attempt_id, number)
);
comment on table adjustments is
  'By how much an attempt differs from what stood before: amounts and counts to be added, below zero too. Append-only.';
comment on column adjustments.number is 'The first adjustment of an attempt is 1.';
comment on column adjustments.price_id is 'The price that the attempt has from then on.';
comment on column adjustments.pricing is 'As in attempts, from then on.';
comment on column adjustments.cost_nano_usd is 'To be added to what the provider bills, in 1e-9 USD; to nothing, where no cost was known.';
comment on column adjustments.charge_nano_usd is 'To be added to what the tenant pays, in 1e-9 USD.';
create index adjustments_by_run on adjustments (run_id, attempt_id);

create table adjustment_transfers (
  attempt_id uuid not null,
  number integer not null,
  book book not null,
  debit_account text not null,
  credit_account text not null,
  amount_nano_usd bigint not null check (amount_nano_usd > 0),
  primary key (attempt_id, number, book),
  foreign key (attempt_id, number) references adjustments on delete cascade
);
comment on table adjustment_transfers is
  'Double entry: what an adjustment moves in a book, from one account to another; what it takes back goes the other way. Written in the statement that writes the adjustment.';

create table attempt_standings (
  attempt_id uuid primary key,
  tenant text not null,
  number integer not null check (number > 0),
  trued_up boolean not null,
  price_id text not null,
  pricing text not null check (pricing in ('priced', 'unpriced', 'price_unknown', 'usage_unknown', 'out_of_range')),
  cost_nano_usd bigint check (cost_nano_usd >= 0),
  charge_nano_usd bigint check (charge_nano_usd >= 0),
  input_tokens bigint check (input_tokens >= 0),
  cached_input_tokens bigint check (cached_input_tokens >= 0),
  cache_write_tokens bigint check (cache_write_tokens >= 0),
  cache_write_long_tokens bigint check (cache_write_long_tokens >= 0),
  output_tokens bigint check (output_tokens >= 0),
  reasoning_tokens bigint check (reasoning_tokens >= 0),
  check ((cost_nano_usd is not null) = (pricing = 'priced')),
  check ((charge_nano_usd is null) = (cost_nano_usd is null))
);
comment on table attempt_standings is
  'What an attempt and its adjustments come to, one row for each attempt that has any: a sum that is kept, so that views need not make it. Its lock lets one transaction adjust at a time.';
comment on column attempt_standings.number is 'Number of the last adjustment.';
comment on column attempt_standings.trued_up is 'Whether an adjustment changed its counts to what the provider says.';
