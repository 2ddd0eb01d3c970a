-- What was still in the hands of a pool when its lease ended, so that the loss of a pool with its disk is known in money.
alter table budget_leases
  add column lost_nano_usd bigint not null default 0 check (lost_nano_usd >= 0),
  add column end_time timestamptz;
comment on column budget_leases.lost_nano_usd is
  'What was outstanding when it ended, less what came late: at most so much of its pool''s calls is in no row.';
comment on column budget_leases.end_time is 'When it ended; null: it has not, or it did before this was kept.';
