-- Records of requests in daily partitions: a day that is no longer kept goes as a whole, whatever it holds. Partitioned by the
-- expression that the views call day, so that a filter by it reads that day alone; a key over all days cannot be, so each day
-- has its own: whoever tells a request again tells the same time. The rows there are stay where they are: their table becomes
-- the first partition, up to the end of today.

lock table request_records in access exclusive mode;
do $$
declare
  bound date := (now() at time zone 'UTC')::date + 1;
  old text := 'request_records_until_' || to_char(bound, 'YYYY_MM_DD');
begin
  execute format('alter table request_records rename to %I', old);
  execute format('alter index request_records_pkey rename to %I', old || '_pkey');
  execute format('alter index request_records_by_time rename to %I', old || '_by_time');
  execute format(
    'create table request_records (like %I including defaults including constraints including comments)
       partition by range (((start_time at time zone ''UTC'')::date))', old);
  create table request_records_default partition of request_records default;
  create unique index request_records_default_request on request_records_default (request_id);
  create index request_records_by_time on request_records using brin (
    start_time,
    ((start_time at time zone 'UTC')::date),
    date_trunc('hour', start_time at time zone 'UTC')
  ) with (pages_per_range = 32, autosummarize = on);
  -- Of edges whose clocks are ahead.
  execute format(
    'with odd as (delete from %I where (start_time at time zone ''UTC'')::date >= %L returning *)
     insert into request_records_default select * from odd', old, bound);
  execute format('alter table request_records attach partition %I for values from (minvalue) to (%L)', old, bound);
end $$;
comment on table request_records is 'What clients met with: a row for each request of a known caller. Kept for 90 days.';

-- A table that holds no row need not be the first of the days. Views of an earlier version still look at it.
do $$
declare
  old text := (select relname from pg_class where relname ~ '^request_records_until_' and relkind = 'r'
    and relnamespace = current_schema()::regnamespace);
begin
  if not exists (select from request_records) then execute format('drop table %I', old); end if;
exception
  when dependent_objects_still_exist then null;
end $$;
