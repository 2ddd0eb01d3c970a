-- Whose usage a batch's will be, whether it is in the ledger, and when it is looked at again. The defaults are the same for
-- every row, so that none is written anew.

alter table resources
  add column end_user text not null default '',
  add column tags jsonb,
  add column look_time timestamptz not null default now(),
  add column settle_time timestamptz;
comment on column resources.end_user is 'End user as the call named it that made the resource; empty: none.';
comment on column resources.tags is 'What that call was marked with: names with their values; null: nothing.';
comment on column resources.look_time is 'Of batches that are not settled: when their provider is asked next.';
comment on column resources.settle_time is
  'Of batches: when what they used came into the ledger; null: it has not. Other resources use nothing by themselves.';
create index resources_unsettled on resources (look_time) where kind = 'batch' and settle_time is null;
