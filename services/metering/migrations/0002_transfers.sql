-- A book's entries as transfers: one row for each attempt and book, which names who gives, who receives and how much, so
-- that no book can be out of balance. `entries` becomes a view of the same name and columns.

create type book as enum ('cost', 'charge');
comment on type book is 'cost: what providers bill; charge: what tenants pay.';

-- Whoever writes waits until the end; whoever reads goes on until the table makes way for the view.
lock table entries in share mode;

do $$
begin
  if exists (
    select from entries group by attempt_id, book
    having count(*) <> 2 or sum(amount_nano_usd) <> 0
  ) then
    raise exception 'entries are out of balance: look at them before they become transfers';
  end if;
end $$;

create table transfers as
select
  attempt_id,
  book::book as book,
  min(account) filter (where amount_nano_usd < 0) as debit_account,
  min(account) filter (where amount_nano_usd > 0) as credit_account,
  max(amount_nano_usd) as amount_nano_usd
from entries
group by attempt_id, book
order by attempt_id, book;

alter table transfers
  alter attempt_id set not null,
  alter book set not null,
  alter debit_account set not null,
  alter credit_account set not null,
  alter amount_nano_usd set not null,
  add check (amount_nano_usd > 0),
  add primary key (attempt_id, book);
comment on table transfers is
  'Double entry: what an attempt moves in a book, from one account to another. Written in the statement that writes the attempt.';
comment on column transfers.book is 'cost: what providers bill; charge: what tenants pay.';
comment on column transfers.debit_account is 'Who gives: usage/TENANT in the cost book, tenant/TENANT in the charge book.';
comment on column transfers.credit_account is 'Who receives: provider/PROVIDER in the cost book, revenue in the charge book.';
comment on column transfers.amount_nano_usd is 'In 1e-9 USD. An amount of zero, or one that is not known, has no row.';

create view entries_of_transfers as
select t.attempt_id, t.book::text as book, side.account, side.amount_nano_usd
from transfers t
cross join lateral (values (t.credit_account, t.amount_nano_usd), (t.debit_account, -t.amount_nano_usd))
  as side (account, amount_nano_usd);
comment on view entries_of_transfers is
  'Transfers seen from each account: for each attempt and book two rows, whose amounts sum to 0.';
comment on column entries_of_transfers.book is 'cost: what providers bill; charge: what tenants pay.';
comment on column entries_of_transfers.account is
  'usage/TENANT, provider/PROVIDER in the cost book; tenant/TENANT, revenue in the charge book.';
comment on column entries_of_transfers.amount_nano_usd is 'In 1e-9 USD; positive: the account receives.';

-- Who was let to read the table may read the view.
do $$
declare
  reader record;
begin
  for reader in
    select grantee, is_grantable from pg_class, aclexplode(relacl)
    where oid = 'entries'::regclass and privilege_type = 'SELECT' and grantee <> relowner
  loop
    execute format(
      'grant select on entries_of_transfers to %s%s',
      case when reader.grantee = 0 then 'public' else reader.grantee::regrole::text end,
      case when reader.is_grantable then ' with grant option' else '' end
    );
  end loop;
end $$;

drop table entries;
alter view entries_of_transfers rename to entries;
