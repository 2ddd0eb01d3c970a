-- Money that is set aside for batches. The default is the same for every row, so that none is written anew.

alter table resources add column hold jsonb;
comment on column resources.hold is
  'Of batches that budgets are about: the leases that are kept until they are settled, and the most that each model''s part costs; null: nothing is set aside.';
comment on column budget_leases.holder is
  'Id of the pool''s process, new at each start; of what is set aside for a batch, the id of the attempt that made it.';
comment on column budget_leases.expire_time is
  'When the holder takes nothing more from it unless it is renewed; by this database''s clock. infinity: it is kept until its batch is settled.';
comment on column budget_windows.spent_nano_usd is
  'Charges of the attempts and batches that a lease of the window was for, in 1e-9 USD; of a rolling window, those whose bucket still counts.';
