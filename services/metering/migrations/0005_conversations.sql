-- Responses that clients may come back for. Nothing else refers to this table, and it refers to nothing.

create table responses (
  tenant text not null,
  response_id text not null check (length(response_id) between 1 and 256),
  previous_response_id text,
  key text not null,
  background boolean not null,
  state text not null check (state in ('in_progress', 'completed', 'incomplete', 'failed', 'cancelled')),
  input bytea not null,
  response bytea not null,
  output_start integer,
  output_end integer,
  lease_id uuid unique,
  lease_expire_time timestamptz,
  create_time timestamptz not null default now(),
  expire_time timestamptz not null,
  primary key (tenant, response_id),
  check ((output_start is null) = (output_end is null)),
  check (output_start between 0 and output_end and output_end <= octet_length(response)),
  check (background = (lease_id is not null) and background = (lease_expire_time is not null)),
  check (background or state <> 'in_progress')
);
comment on table responses is
  'Replies of models that clients may read and continue until they expire, each with the input that led to it.';
comment on column responses.response_id is 'As the client knows it; one of its tenant''s.';
comment on column responses.previous_response_id is 'The response that this one continues; null: none. It may be gone.';
comment on column responses.key is 'Id of the key that asked for it; every key of the tenant may read it.';
comment on column responses.state is
  'in_progress only in the background, where it means failed once the lease has run out.';
comment on column responses.input is 'What was sent: the JSON value of input, as it came.';
comment on column responses.response is 'The JSON that clients get; where it contradicts state, state is right.';
comment on column responses.output_start is 'Offset of the list of output items in response; null: it has none.';
comment on column responses.output_end is 'Offset of the byte after that list.';
comment on column responses.lease_id is 'Held by the process that makes it in the background; null: not in the background.';
comment on column responses.expire_time is
  'From when nobody can read it. The row stays while another row continues it.';
create index responses_by_expiry on responses (expire_time);
create index responses_by_previous on responses (tenant, previous_response_id) where previous_response_id is not null;
