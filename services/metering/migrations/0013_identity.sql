-- Teams and users beneath tenants; what keys may be; limits and ends of all of them. Columns come with constant defaults, so
-- that no row is written; whoever reads goes on.

alter table tenants
  add column limits jsonb check (jsonb_typeof(limits) = 'object'),
  add column disabled boolean not null default false,
  add column revision bigint not null default 0;
comment on column tenants.limits is 'weir.account.v1.RateLimits as proto JSON; null: none.';
comment on column tenants.disabled is 'Its keys and tokens are refused.';
comment on column tenants.revision is 'Value of account_revision when the row last changed; 0: before there were such changes.';
create index tenants_by_revision on tenants (revision);

create table teams (
  team_id text primary key check (team_id ~ '^[a-z][a-z0-9-]{0,62}\.[a-z0-9][a-z0-9-]{0,39}$'),
  tenant_id text not null references tenants,
  display_name text not null,
  limits jsonb check (jsonb_typeof(limits) = 'object'),
  disabled boolean not null default false,
  create_time timestamptz not null default now(),
  delete_time timestamptz,
  revision bigint not null,
  unique (tenant_id, team_id),
  check (starts_with(team_id, tenant_id || '.'))
);
comment on table teams is 'Groups of users and keys of a tenant. A deleted one stays as a name that nobody gets again.';
comment on column teams.team_id is 'Begins with the tenant''s id and a point, so that no tenant takes a name from another.';
comment on column teams.limits is 'weir.account.v1.RateLimits as proto JSON; null: none.';
comment on column teams.revision is 'Value of account_revision when the row last changed.';
create index teams_by_revision on teams (revision);

create table users (
  user_id text primary key check (user_id ~ '^[a-z][a-z0-9-]{0,62}\.[a-z0-9][a-z0-9-]{0,39}$'),
  tenant_id text not null references tenants,
  display_name text not null,
  email text not null,
  role text not null check (role in ('member', 'analyst', 'auditor', 'admin', 'owner')),
  team_id text,
  limits jsonb check (jsonb_typeof(limits) = 'object'),
  disabled boolean not null default false,
  create_time timestamptz not null default now(),
  delete_time timestamptz,
  revision bigint not null,
  unique (tenant_id, user_id),
  foreign key (tenant_id, team_id) references teams (tenant_id, team_id),
  check (starts_with(user_id, tenant_id || '.')),
  check (delete_time is null or (email = '' and display_name = ''))
);
comment on table users is
  'People of a tenant. A deleted one stays as a name that nobody gets again, without what tells of the person.';
comment on column users.user_id is 'Begins with the tenant''s id and a point, so that no tenant takes a name from another.';
comment on column users.role is 'The most that keys of the user are to the tenant.';
comment on column users.limits is 'weir.account.v1.RateLimits as proto JSON; null: none.';
comment on column users.revision is 'Value of account_revision when the row last changed.';
create index users_by_revision on users (revision);
create index users_by_team on users (team_id) where team_id is not null;

alter table keys
  add column role text not null default 'member' check (role in ('member', 'analyst', 'auditor', 'admin', 'owner')),
  add column every_tenant boolean not null default false,
  add column team_id text,
  add column user_id text,
  add column successor_id text references keys,
  add foreign key (tenant_id, team_id) references teams (tenant_id, team_id),
  add foreign key (tenant_id, user_id) references users (tenant_id, user_id);
comment on column keys.role is 'What its callers are to the tenant.';
comment on column keys.every_tenant is 'The role holds in every tenant.';
comment on column keys.successor_id is 'The key that took its place when it was rotated; null: it was not.';
comment on table account_revision is
  'Counts changes of tenants, teams, users and keys. The row stays locked until a change commits, so revisions become visible in their order.';
create index keys_by_team on keys (team_id) where team_id is not null;
create index keys_by_user on keys (user_id) where user_id is not null;

-- Until now there were no roles, and the key that the first start made was the operator's. It stays that.
with first_key as (
  select key_id from keys
  where tenant_id = 'default' and display_name = 'first key' and revoke_time is null
    and (expire_time is null or expire_time > now())
  order by create_time, key_id limit 1
), next as (
  update account_revision set revision = revision + 1 where exists (select from first_key) returning revision
)
update keys set role = 'owner', every_tenant = true, revision = next.revision
from first_key, next where keys.key_id = first_key.key_id;
