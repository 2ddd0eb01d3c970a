-- Locking a window looks for leases whose time is over, and a grant for those who share it: neither reads what is set aside for
-- batches, however many are under way. By a column of its own, since one that every grant changes would cost each its place on the page.

alter table budget_leases add column kept boolean not null default false;
comment on column budget_leases.kept is 'It is set aside for a batch on record, and ends when the batch is settled.';
update budget_leases set kept = true where expire_time = 'infinity';
create index budget_leases_passing on budget_leases (window_id) where not ended and not kept;
