-- Who owns what providers keep. Nothing else refers to this table, and it refers to nothing.

create table resources (
  provider text not null,
  resource_id text not null check (length(resource_id) between 1 and 256),
  resource_number bigint generated always as identity,
  tenant text not null,
  key text not null,
  kind text not null,
  account text not null,
  alias text not null,
  create_time timestamptz not null default now(),
  primary key (provider, resource_id)
);
comment on table resources is
  'Files, batches, fine-tuning jobs and vector stores that a provider keeps, each of the tenant whose call made it.';
comment on column resources.resource_id is 'The provider''s id of it; unique to the provider.';
comment on column resources.resource_number is 'In the order in which they were recorded.';
comment on column resources.key is 'Id of the key that made it; every key of the tenant may use it.';
comment on column resources.account is 'Which of the provider''s accounts has it: a digest of the credential.';
comment on column resources.alias is 'The alias that its maker named; empty: none.';
create index resources_by_tenant on resources (tenant, kind, resource_number);
create index resources_by_id on resources (tenant, resource_id);
