-- What became of requests that came with an Idempotency-Key. Nothing else refers to this table, and it refers to nothing.

create table idempotency_keys (
  tenant text not null,
  key_id bytea not null check (octet_length(key_id) = 32),
  request_digest bytea not null check (octet_length(request_digest) = 32),
  claim_id uuid not null unique,
  lease_expire_time timestamptz not null,
  outcome bytea,
  create_time timestamptz not null default now(),
  expire_time timestamptz not null,
  primary key (tenant, key_id)
);
comment on table idempotency_keys is
  'Answers to requests that may come again under the same Idempotency-Key, encrypted by the edge, until they expire.';
comment on column idempotency_keys.key_id is 'HMAC of caller, route and key under a secret that only edges and metering have.';
comment on column idempotency_keys.request_digest is 'HMAC of the request: another one under the same key is refused.';
comment on column idempotency_keys.claim_id is 'Of the request that is being answered, or was.';
comment on column idempotency_keys.lease_expire_time is
  'Until when the claim holds while there is no outcome: an edge that was killed renews none.';
comment on column idempotency_keys.outcome is 'The answer, encrypted; null: there is none yet.';
create index idempotency_keys_by_expiry on idempotency_keys (expire_time);
