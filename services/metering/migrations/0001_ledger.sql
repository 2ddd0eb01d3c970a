-- Accounts, prices and the ledger. Runs on PostgreSQL 15 and later, and on PGlite.

create table tenants (
  tenant_id text primary key check (tenant_id ~ '^[a-z][a-z0-9-]{0,62}$'),
  display_name text not null,
  create_time timestamptz not null default now()
);
comment on table tenants is 'Who pays.';
-- The first key needs somebody who pays.
insert into tenants (tenant_id, display_name) values ('default', 'Default');

create table keys (
  key_id text primary key check (key_id ~ '^[a-z2-7]{16}$'),
  tenant_id text not null references tenants,
  digest bytea not null unique check (octet_length(digest) = 32),
  display_name text not null,
  scope jsonb not null,
  create_time timestamptz not null default now(),
  expire_time timestamptz,
  revoke_time timestamptz,
  revision bigint not null unique
);
comment on table keys is 'What callers present. The secret itself is nowhere; digest is HMAC-SHA-256 of it under the pepper.';
comment on column keys.scope is 'weir.account.v1.KeyScope as proto JSON.';
comment on column keys.revision is 'Value of account_revision when the row last changed.';
create index keys_by_tenant on keys (tenant_id);

create table account_revision (
  singleton boolean primary key default true check (singleton),
  revision bigint not null
);
comment on table account_revision is
  'Counts changes of keys. The row stays locked until a change commits, so revisions become visible in their order.';
insert into account_revision (revision) values (0);

create table prices (
  price_id text primary key,
  provider text not null,
  model text not null,
  effective_time timestamptz,
  input_nano_usd_per_million numeric(30) not null check (input_nano_usd_per_million >= 0),
  cached_input_nano_usd_per_million numeric(30) not null check (cached_input_nano_usd_per_million >= 0),
  cache_write_nano_usd_per_million numeric(30) not null check (cache_write_nano_usd_per_million >= 0),
  cache_write_long_nano_usd_per_million numeric(30) not null check (cache_write_long_nano_usd_per_million >= 0),
  output_nano_usd_per_million numeric(30) not null check (output_nano_usd_per_million >= 0),
  long_context jsonb,
  source text not null,
  create_time timestamptz not null default now()
);
comment on table prices is 'What models cost, in nano-USD for a million tokens. Rows are written once and never change.';
comment on column prices.model is 'As the provider names it; a * at the end stands for any rest.';
comment on column prices.effective_time is 'From when the price holds; null: always.';
comment on column prices.long_context is
  'Rates for attempts whose input is longer than input_tokens_above, under the names of the columns; null: none.';
comment on column prices.source is 'Where the price was read, and when.';

create table attempts (
  attempt_id uuid primary key,
  request_id text not null,
  tenant text not null,
  key text not null,
  end_user text not null,
  alias text not null,
  provider text not null,
  model text not null,
  stream boolean not null,
  outcome text not null
    check (outcome in ('completed', 'cancelled', 'failed', 'truncated', 'lost', 'rejected')),
  usage_source text not null check (usage_source in ('reported', 'counted', 'estimated')),
  input_tokens bigint,
  cached_input_tokens bigint,
  cache_write_tokens bigint,
  cache_write_long_tokens bigint,
  audio_input_tokens bigint,
  image_input_tokens bigint,
  output_tokens bigint,
  reasoning_tokens bigint,
  audio_output_tokens bigint,
  image_output_tokens bigint,
  accepted_prediction_tokens bigint,
  rejected_prediction_tokens bigint,
  server_tool_uses jsonb,
  usage_inconsistent boolean not null,
  price_id text not null,
  pricing text not null check (pricing in ('priced', 'unpriced', 'price_unknown', 'usage_unknown', 'out_of_range')),
  cost_nano_usd bigint check (cost_nano_usd >= 0),
  charge_nano_usd bigint check (charge_nano_usd >= 0),
  start_time timestamptz not null,
  end_time timestamptz not null,
  first_token_us bigint,
  provider_status integer not null,
  provider_reply_id text not null,
  content_digest bytea not null,
  record_time timestamptz not null default now(),
  check ((cost_nano_usd is not null) = (pricing = 'priced')),
  check ((charge_nano_usd is null) = (cost_nano_usd is null))
);
comment on table attempts is
  'One row for each call to a provider, whether it succeeded or not. The primary key is what makes delivery idempotent.';
comment on column attempts.attempt_id is 'UUID of version 7 made before the call left.';
comment on column attempts.request_id is 'The client''s request; retries and fallbacks of it share the value.';
comment on column attempts.key is 'Id of the API key; empty when the call came without one.';
comment on column attempts.end_user is 'End user as the client named it; empty when it named none. At most 512 characters.';
comment on column attempts.alias is 'The model name that the client called.';
comment on column attempts.usage_source is
  'reported by the provider; counted by Weir as it passed; or estimated, because the end of the attempt was lost.';
comment on column attempts.input_tokens is 'All input tokens, cached ones and cache writes included; null: not reported.';
comment on column attempts.output_tokens is 'All output tokens, reasoning included; null: not reported.';
comment on column attempts.usage_inconsistent is 'A reported part was larger than its total, and was cut to it for the cost.';
comment on column attempts.price_id is 'The price in force when the attempt began; empty when there was none.';
comment on column attempts.pricing is
  'priced; unpriced: there was no price; price_unknown: the ledger has not seen the price yet; usage_unknown: no counts; out_of_range: beyond 64 bits.';
comment on column attempts.cost_nano_usd is 'What the provider bills, in 1e-9 USD; null unless pricing is priced.';
comment on column attempts.charge_nano_usd is 'What the tenant pays, in 1e-9 USD; null where the cost is.';
comment on column attempts.first_token_us is 'From sending the request to the first content, in microseconds; null: none came.';
comment on column attempts.provider_status is 'HTTP status of the provider; 0 when it gave none.';
comment on column attempts.content_digest is 'Digest of the event, which tells a redelivery from a conflict.';
comment on column attempts.record_time is 'When the row was written.';
-- Rows arrive nearly in the order of start_time, so a block range index is enough and costs next to nothing to keep.
create index attempts_by_start_time on attempts using brin (start_time) with (pages_per_range = 32);
create index attempts_by_request on attempts (request_id);
create index attempts_estimated_index on attempts (start_time) where usage_source = 'estimated';
create index attempts_price_unknown on attempts (price_id) where pricing = 'price_unknown';

create table entries (
  attempt_id uuid not null,
  book text not null check (book in ('cost', 'charge')),
  account text not null,
  amount_nano_usd bigint not null check (amount_nano_usd <> 0),
  primary key (attempt_id, book, account)
);
comment on table entries is
  'Double entry: for each attempt and book the amounts sum to 0. Written in the statement that writes the attempt.';
comment on column entries.book is 'cost: what providers bill; charge: what tenants pay.';
comment on column entries.account is 'usage/TENANT, provider/PROVIDER in the cost book; tenant/TENANT, revenue in the charge book.';
comment on column entries.amount_nano_usd is 'In 1e-9 USD; positive: the account receives.';

create table conflicts (
  conflict_id bytea primary key,
  attempt_id text not null,
  reason text not null,
  journal_id text not null,
  sequence numeric(20) not null,
  payload bytea not null,
  receive_time timestamptz not null default now()
);
comment on table conflicts is
  'Usage events that could not be written: their attempt stands in the ledger with other content, or they are malformed. Each needs a look.';
comment on column conflicts.conflict_id is 'SHA-256 of reason and payload, so that redelivery adds nothing.';
comment on column conflicts.reason is 'content: the attempt stands with other content; otherwise the field at fault.';
comment on column conflicts.sequence is 'Number of the event in its journal; 0 when that could not be read.';
comment on column conflicts.payload is 'The event as weir.metering.v1.UsageEvent, or the message as it came when it could not be read.';

create table journals (
  journal_id uuid primary key,
  committed_sequence bigint not null,
  update_time timestamptz not null default now()
);
comment on table journals is 'How far the journal of each pool is committed; pools keep what lies beyond.';
