-- Whose rows a transaction sees: those of the tenant in `weir.tenant`, all of them for '*', none when it is not set. Forced,
-- so that it holds for the owner of the tables, too. The gateway works as a role that owns nothing and cannot pass by it.

do $$
begin
  create role weir_runtime nologin nosuperuser nobypassrls;
exception
  -- Another database of the same server has it already; or the login may make no roles: docs/identity.md says what to do.
  when duplicate_object or unique_violation or insufficient_privilege then null;
end $$;
do $$
begin
  if exists (select from pg_roles where rolname = 'weir_runtime') and not pg_has_role(current_user, 'weir_runtime', 'member') then
    execute format('grant weir_runtime to %I', current_user);
  end if;
exception
  when insufficient_privilege or unique_violation then null;
end $$;

create procedure secure_rows(secured text, tenant text, is_in_views boolean) language plpgsql as $$
begin
  execute format('alter table %1$I enable row level security, force row level security', secured);
  -- As subqueries they are evaluated once for a statement, not for each row.
  execute format(
    $policy$create policy rows_of_tenant on %I using ((select current_setting('weir.tenant', true)) = '*'%s)$policy$,
    secured,
    case when tenant is null then ''
      else format($own$ or %s = nullif((select current_setting('weir.tenant', true)), '')$own$, tenant) end);
  -- Views are read with the rights of their owner, by people who set nothing. The gateway always sets a tenant.
  if is_in_views then
    execute format(
      $policy$create policy rows_for_views on %I for select to current_user
        using (coalesce((select current_setting('weir.tenant', true)), '') = '')$policy$,
      secured);
  end if;
end $$;
revoke execute on procedure secure_rows from public;
comment on procedure secure_rows is
  'Forces row-level security on a table. Tenant: an expression for whose a row is; null: rows are for the gateway''s own work alone.';

call secure_rows('tenants', 'tenant_id', false);
call secure_rows('teams', 'tenant_id', false);
call secure_rows('users', 'tenant_id', false);
call secure_rows('keys', 'tenant_id', false);
call secure_rows('audit_records', 'tenant_id', false);
call secure_rows('responses', 'tenant', false);
call secure_rows('budgets', 'scope ->> ''tenant''', true);
-- These name no tenant, or not as a column.
call secure_rows('budget_windows', null, true);
call secure_rows('budget_buckets', null, true);
call secure_rows('budget_leases', null, true);
call secure_rows('transfers', null, true);
call secure_rows('retired_transfers', null, true);
call secure_rows('conflicts', null, true);
do $$
begin
  if to_regclass('adjustment_transfers') is not null then call secure_rows('adjustment_transfers', null, true); end if;
end $$;

create procedure secure_new_tables() language plpgsql as $$
declare
  bare record;
begin
  for bare in
    select relname, attname from pg_class join pg_attribute on attrelid = pg_class.oid
    where relkind in ('r', 'p') and not relispartition and relnamespace = current_schema()::regnamespace
      and attname in ('tenant', 'tenant_id') and not relrowsecurity
  loop
    call secure_rows(bare.relname, bare.attname, true);
  end loop;
end $$;
revoke execute on procedure secure_new_tables from public;
comment on procedure secure_new_tables is
  'Secures the rows of tables with a column tenant or tenant_id. Called after every migration, so that none is forgotten.';
call secure_new_tables();

create procedure let_runtime_work() language plpgsql as $$
declare
  usable record;
begin
  execute format('grant usage on schema %I to weir_runtime', current_schema());
  -- Not partitions: what is read without their parent is read without its policies.
  for usable in
    select relname from pg_class
    where relkind in ('r', 'p') and not relispartition and relnamespace = current_schema()::regnamespace
      and pg_has_role(relowner, 'usage') and relname not in ('schema_migrations', 'audit_records')
  loop
    execute format('grant select, insert, update, delete on %I to weir_runtime', usable.relname);
  end loop;
  grant select, insert on audit_records to weir_runtime;
  grant select on budget_burn to weir_runtime;
end $$;
revoke execute on procedure let_runtime_work from public;
comment on procedure let_runtime_work is
  'Gives the role weir_runtime what the gateway works with, tables that are new since the last time among it.';
