-- Who changed what, and who was refused. Only ever added to: neither the gateway nor the owner of the table can change a
-- record, nor delete one of the last 400 days.

create table audit_records (
  audit_record_id uuid primary key,
  time timestamptz not null,
  tenant_id text,
  actor_kind text not null check (actor_kind in ('caller', 'operator', 'unknown')),
  actor_key text not null,
  actor_user text not null,
  actor_role text not null check (actor_role in ('', 'member', 'analyst', 'auditor', 'admin', 'owner')),
  actor_tenant text not null,
  action text not null check (length(action) between 1 and 128),
  resource text not null check (length(resource) <= 256),
  request_id text not null check (length(request_id) <= 128),
  changes jsonb not null default '[]' check (jsonb_typeof(changes) = 'array'),
  refusal_reason text,
  refusal_detail text,
  refusal_count bigint check (refusal_count > 0),
  refusal_last_time timestamptz,
  refusal_address text,
  record_time timestamptz not null default now(),
  check ((refusal_reason is null) = (refusal_count is null) and (refusal_reason is null) = (refusal_last_time is null)
    and (refusal_reason is null) = (refusal_detail is null) and (refusal_reason is null) = (refusal_address is null))
);
comment on table audit_records is 'Who changed what, and who was refused what. Append-only, for 400 days at least.';
comment on column audit_records.time is 'When it was changed; of refusals, when the first was.';
comment on column audit_records.tenant_id is 'Whom it is about; null: no tenant in particular, which only the gateway''s operators see.';
comment on column audit_records.actor_key is 'Id of the key, jwt, or operator; empty: not known.';
comment on column audit_records.actor_user is 'Id of the account of a person; empty: none.';
comment on column audit_records.actor_tenant is 'Tenant of the key or token; empty: not known.';
comment on column audit_records.action is 'keys.rotate; of refusals what was called.';
comment on column audit_records.resource is 'keys/ and an id, for example; empty: not known.';
comment on column audit_records.request_id is 'Id of the client''s request; empty: not known.';
comment on column audit_records.changes is 'Objects with field, before and after; no secrets.';
comment on column audit_records.refusal_reason is 'Name of an ErrorReason; null: it was done.';
comment on column audit_records.refusal_count is 'Refusals that were alike.';
create index audit_records_by_time on audit_records (time, audit_record_id);
create index audit_records_by_tenant on audit_records (tenant_id, time, audit_record_id);
create index audit_records_by_resource on audit_records (resource, time);

create function keep_audit_record() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and old.record_time < now() - interval '400 days' then
    return old;
  end if;
  raise exception 'audit records are only ever added' using errcode = 'insufficient_privilege';
end $$;
comment on function keep_audit_record is 'Lets nobody change a record, nor delete one of the last 400 days.';
create trigger keep_audit_record before update or delete on audit_records
  for each row execute function keep_audit_record();
create trigger keep_audit_records before truncate on audit_records
  for each statement execute function keep_audit_record();
