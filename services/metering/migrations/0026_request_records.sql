-- What clients met with, as the edges tell it: a row for each request of a known caller. No part of the ledger.

create table request_records (
  request_id text primary key,
  tenant text not null,
  key text not null,
  method text not null,
  route text not null,
  status integer not null,
  complete boolean not null,
  reason text not null,
  start_time timestamptz not null,
  duration_us bigint not null,
  first_content_us bigint
);
comment on table request_records is 'What clients met with: a row for each request of a known caller. Kept for 90 days.';
comment on column request_records.request_id is 'Id of the request, as attempts have it.';
comment on column request_records.key is 'Id of the key, or what stands for a token''s subject.';
comment on column request_records.route is 'The path as a template, or a gRPC method.';
comment on column request_records.status is 'HTTP status; 499: the client left before the answer began.';
comment on column request_records.complete is 'Whether the answer left whole.';
comment on column request_records.reason is 'Name of an ErrorReason in lower case; empty: no error.';
comment on column request_records.start_time is 'When it came, by the edge''s clock.';
comment on column request_records.duration_us is 'From the arrival until the answer had left, in microseconds.';
comment on column request_records.first_content_us is 'From the arrival until the first content of a stream; null: no stream, or none came.';
-- Rows come nearly in the order of time, and the expressions are those of the views.
create index request_records_by_time on request_records using brin (
  start_time,
  ((start_time at time zone 'UTC')::date),
  date_trunc('hour', start_time at time zone 'UTC')
) with (pages_per_range = 32, autosummarize = on);
