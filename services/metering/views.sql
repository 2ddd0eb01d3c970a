-- What analysts read. Names of views and columns are stable: columns are only ever added, at the end.
-- Amounts: *_nano_usd is an integer of 1e-9 USD, *_usd the same as a decimal of USD. Days and hours are UTC.

create or replace view cost_by_hour as
select
  date_trunc('hour', start_time at time zone 'UTC') as hour,
  tenant,
  alias,
  provider,
  model,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2, 3, 4, 5;
comment on view cost_by_hour is 'Cost by UTC hour of the attempt''s start, tenant, alias, provider and model.';

create or replace view cost_by_day as
select
  (start_time at time zone 'UTC')::date as day,
  tenant,
  alias,
  provider,
  model,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2, 3, 4, 5;
comment on view cost_by_day is 'Cost by UTC day of the attempt''s start, tenant, alias, provider and model.';

create or replace view cost_by_tenant as
select
  (start_time at time zone 'UTC')::date as day,
  tenant,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2;
comment on view cost_by_tenant is 'Cost by UTC day and tenant.';

create or replace view cost_by_key as
select
  (start_time at time zone 'UTC')::date as day,
  tenant,
  key,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2, 3;
comment on view cost_by_key is 'Cost by UTC day, tenant and API key (its id; join keys for the name).';

create or replace view cost_by_user as
select
  (start_time at time zone 'UTC')::date as day,
  tenant,
  end_user,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2, 3;
comment on view cost_by_user is 'Cost by UTC day, tenant and end user as the client named it; empty: not named.';

create or replace view cost_by_alias as
select
  (start_time at time zone 'UTC')::date as day,
  alias,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2;
comment on view cost_by_alias is 'Cost by UTC day and alias, the model name that clients call.';

create or replace view cost_by_provider as
select
  (start_time at time zone 'UTC')::date as day,
  provider,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2;
comment on view cost_by_provider is 'Cost by UTC day and provider.';

create or replace view cost_by_model as
select
  (start_time at time zone 'UTC')::date as day,
  provider,
  model,
  count(*) as attempts,
  count(distinct request_id) as requests,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  count(*) filter (where usage_source = 'estimated') as estimated_attempts,
  count(*) filter (where pricing <> 'priced') as unpriced_attempts
from attempts
group by 1, 2, 3;
comment on view cost_by_model is 'Cost by UTC day, provider and model.';

create or replace view attempts_estimated as
select attempt_id, request_id, tenant, key, alias, provider, model, outcome, input_tokens, output_tokens,
  cost_nano_usd, round(cost_nano_usd / 1e9, 9) as cost_usd, start_time, end_time
from attempts
where usage_source = 'estimated';
comment on view attempts_estimated is
  'Attempts whose end was lost: counts are the last progress on record, else the most that was reserved.';

create or replace view attempts_conflicting as
select c.attempt_id, c.reason, c.journal_id, c.sequence, c.receive_time, octet_length(c.payload) as payload_bytes,
  a.attempt_id is not null as stands_in_ledger
from conflicts c
left join attempts a on a.attempt_id::text = c.attempt_id;
comment on view attempts_conflicting is 'Usage events that were kept aside, and whether their attempt stands in the ledger.';

create or replace view requests as
select
  request_id,
  tenant,
  key,
  end_user,
  alias,
  min(start_time) as start_time,
  max(end_time) as end_time,
  count(*) as attempts,
  (array_agg(outcome order by start_time desc, attempt_id desc))[1] as outcome,
  (array_agg(provider order by start_time desc, attempt_id desc))[1] as provider,
  (array_agg(model order by start_time desc, attempt_id desc))[1] as model,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  (array_agg(first_token_us order by start_time desc, attempt_id desc))[1] as first_token_us,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
  bool_or(usage_source = 'estimated') as estimated
from attempts
group by 1, 2, 3, 4, 5;
comment on view requests is
  'Attempts folded by request; outcome, provider, model and first_token_us are those of the last attempt, counts and amounts the sum of all.';

comment on column cost_by_hour.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_hour.requests is 'Requests of clients.';
comment on column cost_by_hour.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_hour.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_hour.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_hour.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_hour.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_hour.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_hour.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_hour.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_hour.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_hour.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_hour.hour is 'UTC hour in which the attempts began.';
comment on column cost_by_day.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_day.requests is 'Requests of clients.';
comment on column cost_by_day.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_day.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_day.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_day.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_day.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_day.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_day.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_day.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_day.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_day.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_day.day is 'UTC day in which the attempts began.';
comment on column cost_by_tenant.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_tenant.requests is 'Requests of clients.';
comment on column cost_by_tenant.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_tenant.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_tenant.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_tenant.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_tenant.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_tenant.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_tenant.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_tenant.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_tenant.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_tenant.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_tenant.day is 'UTC day in which the attempts began.';
comment on column cost_by_key.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_key.requests is 'Requests of clients.';
comment on column cost_by_key.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_key.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_key.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_key.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_key.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_key.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_key.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_key.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_key.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_key.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_key.day is 'UTC day in which the attempts began.';
comment on column cost_by_user.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_user.requests is 'Requests of clients.';
comment on column cost_by_user.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_user.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_user.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_user.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_user.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_user.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_user.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_user.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_user.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_user.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_user.day is 'UTC day in which the attempts began.';
comment on column cost_by_alias.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_alias.requests is 'Requests of clients.';
comment on column cost_by_alias.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_alias.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_alias.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_alias.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_alias.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_alias.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_alias.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_alias.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_alias.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_alias.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_alias.day is 'UTC day in which the attempts began.';
comment on column cost_by_provider.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_provider.requests is 'Requests of clients.';
comment on column cost_by_provider.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_provider.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_provider.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_provider.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_provider.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_provider.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_provider.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_provider.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_provider.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_provider.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_provider.day is 'UTC day in which the attempts began.';
comment on column cost_by_model.attempts is 'Calls to providers, retries and fallbacks included.';
comment on column cost_by_model.requests is 'Requests of clients.';
comment on column cost_by_model.input_tokens is 'All input tokens, cached ones included.';
comment on column cost_by_model.cached_input_tokens is 'Part of input_tokens that providers read from their caches.';
comment on column cost_by_model.output_tokens is 'All output tokens, reasoning included.';
comment on column cost_by_model.reasoning_tokens is 'Part of output_tokens spent on reasoning.';
comment on column cost_by_model.cost_nano_usd is 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.';
comment on column cost_by_model.cost_usd is 'What providers bill, in USD.';
comment on column cost_by_model.charge_nano_usd is 'What tenants pay, in 1e-9 USD.';
comment on column cost_by_model.charge_usd is 'What tenants pay, in USD.';
comment on column cost_by_model.estimated_attempts is 'Attempts whose counts are estimated.';
comment on column cost_by_model.unpriced_attempts is 'Attempts whose cost is not known.';
comment on column cost_by_model.day is 'UTC day in which the attempts began.';
