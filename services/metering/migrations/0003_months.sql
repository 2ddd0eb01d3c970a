-- Attempts and transfers in monthly partitions, by the time that a UUID of version 7 begins with. Partitioned by the id
-- itself, so that the primary key stays what it is for: unique over all partitions. The rows there are stay where they
-- are: their tables become the first partitions, up to the end of this month. Nothing is copied. While the new indexes are
-- built, whoever reads goes on and whoever writes waits; readers wait for the last look at the ids.

-- Neither function is strict: a strict one is called for each row, where these become part of the query.
create function first_attempt_id(from_time timestamptz) returns uuid
  language sql immutable parallel safe
  return (lpad(to_hex((extract(epoch from from_time) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
comment on function first_attempt_id is
  'The least attempt_id of a time: what bounds partitions. Where an id is compared with it, only partitions in question are read.';

create function request_day(request_id text) returns date
  language sql immutable parallel safe
  return case when length(request_id) = 36 and request_id ~ '^req_[0-9a-f]*$'
    then date '1970-01-01' + (('x' || substr(request_id, 5, 12))::bit(48)::bigint / 86400000)::int end;
comment on function request_day is 'The UTC day in which a request came, of which its id tells; null for ids of another form.';

lock table attempts, transfers in share mode;
-- Rows arrive nearly in the order of time, so a block range index is enough and costs next to nothing to keep. What the
-- views call day and hour are expressions; only under an index of the same ones does a filter by them read little.
create index attempts_by_time on attempts using brin (
  start_time,
  ((start_time at time zone 'UTC')::date),
  date_trunc('hour', start_time at time zone 'UTC'),
  request_day(request_id)
) with (pages_per_range = 32, autosummarize = on);
-- For pages of one tenant's attempts, the newest first.
create index attempts_by_tenant on attempts (tenant, start_time, attempt_id);

lock table attempts, transfers in access exclusive mode;
alter table attempts add column tags jsonb check (jsonb_typeof(tags) = 'object');
comment on column attempts.tags is 'What the client marked the request with: names with their values; null: nothing.';
drop index attempts_by_start_time;

do $$
declare
  bound date := (date_trunc('month', now() at time zone 'UTC') + interval '1 month')::date;
  first_id uuid := first_attempt_id('2020-01-01 00:00Z');
  last_id uuid := first_attempt_id(bound::timestamp at time zone 'UTC');
  parent text;
  old text;
  index_name text;
  allowed record;
begin
  foreach parent in array array['attempts', 'transfers'] loop
    old := parent || '_until_' || to_char(bound, 'YYYY_MM');
    execute format('alter table %I rename to %I', parent, old);
    for index_name in select indexrelid::regclass::text from pg_index where indrelid = old::regclass loop
      execute format('alter index %I rename to %I', index_name, replace(index_name, parent, old));
    end loop;
    execute format(
      'create table %I (like %I including defaults including constraints including comments) partition by range (attempt_id)',
      parent, old);
    execute format('create table %I partition of %I default', parent || '_default', parent);
    -- Ids of another time, or of no time, which only strangers make.
    execute format(
      'with odd as (delete from %I where attempt_id < %L or attempt_id >= %L returning *) insert into %I select * from odd',
      old, first_id, last_id, parent || '_default');
    -- Who was let to use the table still is.
    for allowed in
      select grantee, privilege_type, is_grantable from pg_class, aclexplode(relacl)
      where oid = old::regclass and grantee <> relowner
    loop
      execute format('grant %s on %I to %s%s', allowed.privilege_type, parent,
        case when allowed.grantee = 0 then 'public' else allowed.grantee::regrole::text end,
        case when allowed.is_grantable then ' with grant option' else '' end);
    end loop;
  end loop;

  alter table attempts add primary key (attempt_id);
  alter table transfers add primary key (attempt_id, book);
  create index attempts_by_request on attempts (request_id);
  create index attempts_by_tenant on attempts (tenant, start_time, attempt_id);
  create index attempts_estimated_index on attempts (start_time) where usage_source = 'estimated';
  create index attempts_price_unknown on attempts (price_id) where pricing = 'price_unknown';
  create index attempts_by_time on attempts using brin (
    start_time,
    ((start_time at time zone 'UTC')::date),
    date_trunc('hour', start_time at time zone 'UTC'),
    request_day(request_id)
  ) with (pages_per_range = 32, autosummarize = on);

  foreach parent in array array['attempts', 'transfers'] loop
    old := parent || '_until_' || to_char(bound, 'YYYY_MM');
    execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, old, first_id, last_id);
  end loop;
end $$;

comment on table attempts is
  'One row for each call to a provider, whether it succeeded or not. The primary key is what makes delivery idempotent.';
comment on table transfers is
  'Double entry: what an attempt moves in a book, from one account to another. Written in the statement that writes the attempt.';

create or replace view entries as
select t.attempt_id, t.book::text as book, side.account, side.amount_nano_usd
from transfers t
cross join lateral (values (t.credit_account, t.amount_nano_usd), (t.debit_account, -t.amount_nano_usd))
  as side (account, amount_nano_usd);

-- A ledger that holds no row begins with months alone. Views of an earlier version still look at the old tables then.
do $$
declare
  old text;
begin
  if exists (select from attempts) or exists (select from transfers) then return; end if;
  for old in select relname from pg_class where relname ~ '^(attempts|transfers)_until_' and relkind = 'r' loop
    execute format('drop table %I', old);
  end loop;
exception
  when dependent_objects_still_exist then null;
end $$;

-- What is kept of months that are not.
create table retired_costs (
  day date not null,
  tenant text not null,
  key text not null,
  alias text not null,
  provider text not null,
  model text not null,
  attempts bigint not null,
  requests bigint not null,
  input_tokens numeric(30) not null,
  cached_input_tokens numeric(30) not null,
  output_tokens numeric(30) not null,
  reasoning_tokens numeric(30) not null,
  cost_nano_usd numeric(30) not null,
  charge_nano_usd numeric(30) not null,
  estimated_attempts bigint not null,
  unpriced_attempts bigint not null,
  primary key (day, tenant, key, alias, provider, model)
);
comment on table retired_costs is
  'Sums of attempts whose month was retired. End users and tags go with their month.';

create table retired_transfers (
  book book not null,
  debit_account text not null,
  credit_account text not null,
  amount_nano_usd numeric(30) not null check (amount_nano_usd > 0),
  primary key (book, debit_account, credit_account)
);
comment on table retired_transfers is 'Sums of transfers whose month was retired, so that balances stay what they are.';
