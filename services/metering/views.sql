-- What analysts read. Names of views and columns are stable: columns are only ever added, at the end.
-- Amounts: *_nano_usd is an integer of 1e-9 USD, *_usd the same as a decimal of USD. Days and hours are UTC, and written as
-- in the index attempts_by_time, so that a filter by them reads little.

-- The one place where adjustments meet what they adjust: whoever sums attempts reads this. A join by the whole key, so that
-- it is made only where one of its columns is read.
create or replace view attempts_as_adjusted as
select
  a.attempt_id, a.request_id, a.tenant, a.key, a.end_user, a.alias, a.provider, a.model, a.stream, a.outcome, a.usage_source,
  case when s.attempt_id is null then a.input_tokens else s.input_tokens end as input_tokens,
  case when s.attempt_id is null then a.cached_input_tokens else s.cached_input_tokens end as cached_input_tokens,
  case when s.attempt_id is null then a.cache_write_tokens else s.cache_write_tokens end as cache_write_tokens,
  case when s.attempt_id is null then a.cache_write_long_tokens else s.cache_write_long_tokens end as cache_write_long_tokens,
  a.audio_input_tokens, a.image_input_tokens,
  case when s.attempt_id is null then a.output_tokens else s.output_tokens end as output_tokens,
  case when s.attempt_id is null then a.reasoning_tokens else s.reasoning_tokens end as reasoning_tokens,
  a.audio_output_tokens, a.image_output_tokens, a.accepted_prediction_tokens, a.rejected_prediction_tokens,
  a.server_tool_uses, a.usage_inconsistent,
  case when s.attempt_id is null then a.price_id else s.price_id end as price_id,
  case when s.attempt_id is null then a.pricing else s.pricing end as pricing,
  case when s.attempt_id is null then a.cost_nano_usd else s.cost_nano_usd end as cost_nano_usd,
  case when s.attempt_id is null then a.charge_nano_usd else s.charge_nano_usd end as charge_nano_usd,
  a.start_time, a.end_time, a.first_token_us, a.provider_status, a.provider_reply_id, a.tags, a.service_tier,
  coalesce(s.number, 0) as adjustments,
  coalesce(s.trued_up, false) as trued_up,
  -- Of rows from before the bound was kept, that it was reached is all that is known.
  coalesce(a.charge_max_nano_usd,
    case when a.charge_nano_usd < a.cost_nano_usd and a.outcome not in ('failed', 'rejected') then a.charge_nano_usd end)
    as charge_max_nano_usd,
  a.cost_nano_usd as original_cost_nano_usd,
  a.charge_nano_usd as original_charge_nano_usd,
  a.input_tokens as original_input_tokens,
  a.output_tokens as original_output_tokens
from attempts a
left join attempt_standings s on s.attempt_id = a.attempt_id;
comment on view attempts_as_adjusted is
  'Attempts with the counts and amounts that their adjustments bring them to; what was recorded first beside them.';

create or replace view attempt_adjustments as
select
  j.attempt_id, j.number, r.reason, (a.start_time at time zone 'UTC')::date as day, a.tenant, a.provider, a.model,
  j.price_id, j.pricing, j.cost_nano_usd, round(j.cost_nano_usd / 1e9, 9) as cost_usd,
  j.charge_nano_usd, round(j.charge_nano_usd / 1e9, 9) as charge_usd,
  j.input_tokens, j.cached_input_tokens, j.cache_write_tokens, j.cache_write_long_tokens, j.output_tokens,
  j.reasoning_tokens, j.run_id, r.question, r.create_time as run_time
from adjustments j
join adjustment_runs r on r.run_id = j.run_id
join attempts a on a.attempt_id = j.attempt_id;
comment on view attempt_adjustments is
  'What was learnt of attempts after they were recorded, and by how much it changes them: counts and amounts are differences, below zero too.';
comment on column attempt_adjustments.number is 'The first adjustment of an attempt is 1.';
comment on column attempt_adjustments.reason is 'rerate: priced anew; true_up: its counts follow what the provider says.';
comment on column attempt_adjustments.price_id is 'The price that the attempt has from then on; empty: none.';
comment on column attempt_adjustments.pricing is 'As in attempt_details, from then on.';
comment on column attempt_adjustments.cost_nano_usd is 'What is added to what the provider bills, in 1e-9 USD.';
comment on column attempt_adjustments.cost_usd is 'The same in USD.';
comment on column attempt_adjustments.charge_nano_usd is 'What is added to what the tenant pays, in 1e-9 USD.';
comment on column attempt_adjustments.charge_usd is 'The same in USD.';
comment on column attempt_adjustments.input_tokens is 'What is added to all input tokens.';
comment on column attempt_adjustments.cached_input_tokens is 'What is added to those that were read from a cache.';
comment on column attempt_adjustments.cache_write_tokens is 'What is added to those that were written to a cache.';
comment on column attempt_adjustments.cache_write_long_tokens is 'What is added to those that were written for longer.';
comment on column attempt_adjustments.output_tokens is 'What is added to all output tokens.';
comment on column attempt_adjustments.reasoning_tokens is 'What is added to those spent on reasoning.';
comment on column attempt_adjustments.run_id is 'The run that made it; the same question has the same id.';
comment on column attempt_adjustments.question is 'What that run was asked for.';
comment on column attempt_adjustments.run_time is 'When that run first wrote an adjustment.';

create or replace view entries as
select t.attempt_id, t.book::text as book, side.account, side.amount_nano_usd
from (
  select attempt_id, book, debit_account, credit_account, amount_nano_usd from transfers
  union all
  select attempt_id, book, debit_account, credit_account, amount_nano_usd from adjustment_transfers
) as t
cross join lateral (values (t.credit_account, t.amount_nano_usd), (t.debit_account, -t.amount_nano_usd))
  as side (account, amount_nano_usd);
comment on view entries is
  'Transfers seen from each account, those of adjustments among them: for each transfer two rows, whose amounts sum to 0.';

-- Strict, so that it is not made part of the query and its number of rows is believed: with the hundred rows that
-- Postgres expects of jsonb_each_text, a day looks so dear that seconds go into compiling its query.
create or replace function tags_of(tags jsonb) returns table (tag text, value text)
  language sql immutable strict parallel safe rows 2
  as 'select key, value from jsonb_each_text($1)';
comment on function tags_of is 'Tags and their values as rows; none of null.';

-- The cost views: the same sums by a span of time and different columns. No one of them can be summed up from another,
-- because requests are counted by their ids.
do $$
declare
  cost_view record;
  described record;
begin
  for cost_view in
    select * from (values
      ('cost_by_hour', 'hour', 'tenant, alias, provider, model', 'attempts_as_adjusted',
        'Cost by UTC hour of the attempt''s start, tenant, alias, provider and model.'),
      ('cost_by_day', 'day', 'tenant, alias, provider, model', 'attempts_as_adjusted',
        'Cost by UTC day of the attempt''s start, tenant, alias, provider and model.'),
      ('cost_by_tenant', 'day', 'tenant', 'attempts_as_adjusted', 'Cost by UTC day and tenant.'),
      ('cost_by_key', 'day', 'tenant, key', 'attempts_as_adjusted', 'Cost by UTC day, tenant and API key (its id).'),
      ('cost_by_user', 'day', 'tenant, end_user', 'attempts_as_adjusted',
        'Cost by UTC day, tenant and end user as the client named it; empty: not named.'),
      ('cost_by_alias', 'day', 'alias', 'attempts_as_adjusted', 'Cost by UTC day and alias, the model name that clients call.'),
      ('cost_by_provider', 'day', 'provider', 'attempts_as_adjusted', 'Cost by UTC day and provider.'),
      ('cost_by_model', 'day', 'provider, model', 'attempts_as_adjusted', 'Cost by UTC day, provider and model.'),
      ('cost_by_tag', 'day', 'tenant, tag, value',
        'attempts_as_adjusted cross join lateral tags_of(tags)',
        'Cost by UTC day, tenant and tag with its value. An attempt counts once under each of its tags, so sum only one tag.')
    ) as t (name, span, dimensions, source, comment)
  loop
    execute format(
      $view$
        create or replace view %1$I as
        select
          %2$s as %3$I,
          %4$s,
          count(*) as attempts,
          count(distinct request_id collate "C") as requests,
          coalesce(sum(input_tokens), 0) as input_tokens,
          coalesce(sum(cached_input_tokens), 0) as cached_input_tokens,
          coalesce(sum(output_tokens), 0) as output_tokens,
          coalesce(sum(reasoning_tokens), 0) as reasoning_tokens,
          coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
          round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd,
          coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
          round(coalesce(sum(charge_nano_usd), 0) / 1e9, 9) as charge_usd,
          count(*) filter (where usage_source = 'estimated') as estimated_attempts,
          count(*) filter (where pricing <> 'priced') as unpriced_attempts,
          count(*) filter (where adjustments > 0) as adjusted_attempts,
          count(*) filter (where trued_up) as trued_up_attempts
        from %5$s
        group by %2$s, %4$s
      $view$,
      cost_view.name,
      case cost_view.span
        when 'hour' then 'date_trunc(''hour'', start_time at time zone ''UTC'')'
        else '(start_time at time zone ''UTC'')::date'
      end,
      cost_view.span,
      cost_view.dimensions,
      cost_view.source
    );
    execute format('comment on view %I is %L', cost_view.name, cost_view.comment);
    for described in
      select * from (values
        (cost_view.span, format('UTC %s in which the attempts began.', cost_view.span)),
        ('attempts', 'Calls to providers, retries and fallbacks included.'),
        ('requests', 'Requests of clients.'),
        ('input_tokens', 'All input tokens, cached ones included.'),
        ('cached_input_tokens', 'Part of input_tokens that providers read from their caches.'),
        ('output_tokens', 'All output tokens, reasoning included.'),
        ('reasoning_tokens', 'Part of output_tokens spent on reasoning.'),
        ('cost_nano_usd', 'What providers bill, in 1e-9 USD; attempts without a price count as 0, see unpriced_attempts.'),
        ('cost_usd', 'What providers bill, in USD.'),
        ('charge_nano_usd', 'What tenants pay, in 1e-9 USD.'),
        ('charge_usd', 'What tenants pay, in USD.'),
        ('estimated_attempts', 'Attempts whose counts are estimated.'),
        ('unpriced_attempts', 'Attempts whose cost is not known.'),
        ('adjusted_attempts', 'Attempts that were priced anew or trued up since they were recorded.'),
        ('trued_up_attempts', 'Those of them whose counts follow what the provider says of the day.')
      ) as t (name, comment)
    loop
      execute format('comment on column %I.%I is %L', cost_view.name, described.name, described.comment);
    end loop;
  end loop;
end $$;

create or replace view attempts_estimated as
select attempt_id, request_id, tenant, key, alias, provider, model, outcome, input_tokens, output_tokens,
  cost_nano_usd, round(cost_nano_usd / 1e9, 9) as cost_usd, start_time, end_time,
  (start_time at time zone 'UTC')::date as day, trued_up
from attempts_as_adjusted
where usage_source = 'estimated';
comment on view attempts_estimated is
  'Attempts whose end was lost: counts are the last progress on record, else the most that was reserved.';

create or replace view attempts_conflicting as
select c.attempt_id, c.reason, c.journal_id, c.sequence, c.receive_time, octet_length(c.payload) as payload_bytes,
  a.attempt_id is not null as stands_in_ledger
from conflicts c
left join attempts a on a.attempt_id =
  case when c.attempt_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then c.attempt_id::uuid end;
comment on view attempts_conflicting is 'Usage events that were kept aside, and whether their attempt stands in the ledger.';

-- The last attempt of each request is found once: Postgres computes equal aggregates once, each other one with a sort of
-- its own. Of a hundred thousand requests a product is cheaper than a quotient, and as exact.
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
  (array_agg(array[outcome, provider, model, first_token_us::text] order by start_time desc, attempt_id desc))[1][1]
    as outcome,
  (array_agg(array[outcome, provider, model, first_token_us::text] order by start_time desc, attempt_id desc))[1][2]
    as provider,
  (array_agg(array[outcome, provider, model, first_token_us::text] order by start_time desc, attempt_id desc))[1][3]
    as model,
  coalesce(sum(input_tokens), 0) as input_tokens,
  coalesce(sum(output_tokens), 0) as output_tokens,
  (array_agg(array[outcome, provider, model, first_token_us::text] order by start_time desc, attempt_id desc))[1][4]::bigint
    as first_token_us,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  coalesce(sum(cost_nano_usd), 0) * 0.000000001 as cost_usd,
  coalesce(sum(charge_nano_usd), 0) as charge_nano_usd,
  coalesce(sum(charge_nano_usd), 0) * 0.000000001 as charge_usd,
  bool_or(usage_source = 'estimated') as estimated,
  request_day(request_id) as day
from attempts_as_adjusted
group by 1, 2, 3, 4, 5;
comment on view requests is
  'Attempts folded by request; outcome, provider, model and first_token_us are those of the last attempt, counts and amounts the sum of all.';
comment on column requests.day is 'UTC day in which the request came, by its id; null for ids that do not tell.';

-- By the rates of each attempt's own price: those of its service tier, and of its input's length. Tokens are summed up before
-- they are multiplied, since a price has few rates and a day many attempts.
create or replace view cache_savings as
with rates as (
  select row_number() over () as rate, price_id, service_tier, above, input, cached, write, write_long,
    lead(above) over (partition by price_id, service_tier order by above) as until
  from (
    select price_id, '' as service_tier, 0::bigint as above, input_nano_usd_per_million as input,
      cached_input_nano_usd_per_million as cached, cache_write_nano_usd_per_million as write,
      cache_write_long_nano_usd_per_million as write_long
    from prices
    union all
    select price_id, coalesce(tier ->> 'service_tier', ''), (tier ->> 'input_tokens_above')::bigint,
      (tier ->> 'input_nano_usd_per_million')::numeric, (tier ->> 'cached_input_nano_usd_per_million')::numeric,
      (tier ->> 'cache_write_nano_usd_per_million')::numeric, (tier ->> 'cache_write_long_nano_usd_per_million')::numeric
    from prices cross join lateral jsonb_array_elements(coalesce(tiers, jsonb_build_array(long_context))) as tier
    where tiers is not null or long_context is not null
  ) as steps
)
select
  day, tenant, provider, model,
  sum(attempts)::bigint as attempts,
  sum(input_tokens) as input_tokens,
  sum(cached_input_tokens) as cached_input_tokens,
  sum(cache_write_tokens) as cache_write_tokens,
  round(sum(cached_input_tokens * r.cached) / 1e6) as cached_input_cost_nano_usd,
  round(sum(cached_input_tokens * r.input) / 1e6) as uncached_input_cost_nano_usd,
  round(sum(short_write_tokens * (r.write - r.input) + long_write_tokens * (r.write_long - r.input)) / 1e6)
    as write_surcharge_nano_usd,
  round(sum(cached_input_tokens * (r.input - r.cached)
    - short_write_tokens * (r.write - r.input) - long_write_tokens * (r.write_long - r.input)) / 1e6) as saved_nano_usd,
  round(sum(cached_input_tokens * (r.input - r.cached)
    - short_write_tokens * (r.write - r.input) - long_write_tokens * (r.write_long - r.input)) / 1e15, 9) as saved_usd
from (
  select
    (a.start_time at time zone 'UTC')::date as day, a.tenant, a.provider, a.model, r.rate,
    count(*) as attempts,
    sum(a.input_tokens) as input_tokens,
    sum(coalesce(a.cached_input_tokens, 0)) as cached_input_tokens,
    sum(coalesce(a.cache_write_tokens, 0)) as cache_write_tokens,
    sum(greatest(coalesce(a.cache_write_tokens, 0) - coalesce(a.cache_write_long_tokens, 0), 0)) as short_write_tokens,
    sum(coalesce(a.cache_write_long_tokens, 0)) as long_write_tokens
  from attempts_as_adjusted a
  join prices p on p.price_id = a.price_id
  join rates r on r.price_id = a.price_id
    and r.service_tier = case
      when a.service_tier is null then ''
      when p.tiers @> jsonb_build_array(jsonb_build_object('service_tier', a.service_tier)) then a.service_tier
      else ''
    end
    -- Of a batch nobody tells how long its requests were.
    and r.above < case when a.service_tier = 'batch' then 1 else greatest(a.input_tokens, 1) end
    and (r.until is null or r.until >= case when a.service_tier = 'batch' then 1 else greatest(a.input_tokens, 1) end)
  where a.pricing = 'priced'
    and not a.usage_inconsistent
    and (a.cached_input_tokens > 0 or a.cache_write_tokens > 0)
  group by 1, 2, 3, 4, 5
) as used
join rates r using (rate)
group by day, tenant, provider, model;
comment on view cache_savings is
  'What providers'' caches saved by UTC day, tenant, provider and model: only priced attempts that read from a cache or wrote to one.';
comment on column cache_savings.cached_input_cost_nano_usd is 'What the input read from caches cost.';
comment on column cache_savings.uncached_input_cost_nano_usd is 'What the same input would have cost without a cache.';
comment on column cache_savings.write_surcharge_nano_usd is 'What writing to caches cost beyond plain input.';
comment on column cache_savings.saved_nano_usd is
  'The difference less the surcharge, in 1e-9 USD; negative: the caches cost more than they saved.';
comment on column cache_savings.saved_usd is 'The same in USD.';

create or replace view latency_and_cost as
select
  (start_time at time zone 'UTC')::date as day, tenant, alias, provider, model,
  count(*) as attempts,
  count(*) filter (where outcome = 'completed') as completed_attempts,
  count(*) filter (where outcome in ('failed', 'truncated', 'lost')) as failed_attempts,
  round(percentile_cont(0.5) within group (order by first_token_us)::numeric / 1e3, 3) as first_token_p50_ms,
  round(percentile_cont(0.95) within group (order by first_token_us)::numeric / 1e3, 3) as first_token_p95_ms,
  round((percentile_cont(0.5) within group (order by extract(epoch from end_time - start_time)::float8) * 1e3)::numeric, 3)
    as duration_p50_ms,
  round((percentile_cont(0.95) within group (order by extract(epoch from end_time - start_time)::float8) * 1e3)::numeric, 3)
    as duration_p95_ms,
  round(sum(output_tokens) filter (where outcome = 'completed')
    / nullif(sum(extract(epoch from end_time - start_time)) filter (where outcome = 'completed'), 0), 3)
    as output_tokens_per_second,
  coalesce(sum(cost_nano_usd), 0) as cost_nano_usd,
  round(coalesce(sum(cost_nano_usd), 0) / 1e9, 9) as cost_usd
from attempts_as_adjusted
group by 1, 2, 3, 4, 5;
comment on view latency_and_cost is
  'How long attempts took beside what they cost, by UTC day, tenant, alias, provider and model. Time within the gateway is not in it.';
comment on column latency_and_cost.failed_attempts is 'Those that failed, broke off or were lost; cancelled and refused ones are in neither count.';
comment on column latency_and_cost.first_token_p50_ms is 'From sending the request to the first content; null when none came.';
comment on column latency_and_cost.output_tokens_per_second is 'Of completed attempts, from sending the request to the end.';

create or replace view client_requests as
select
  request_id, (start_time at time zone 'UTC')::date as day, start_time, tenant, key, method, route, status, complete,
  nullif(reason, '') as error_reason, round(duration_us / 1e3, 3) as request_ms,
  round(first_content_us / 1e3, 3) as first_content_ms
from request_records;
comment on view client_requests is
  'What clients met with: a row for each request of a known caller, refused or answered, for 90 days and the rest of the 91st. Joined with requests by request_id it has its cost.';
comment on column client_requests.day is 'UTC day in which the request came.';
comment on column client_requests.start_time is 'When the request came, by the edge''s clock.';

create or replace view client_requests_by_hour as
select
  date_trunc('hour', start_time at time zone 'UTC') as hour, tenant, route,
  count(*) as requests,
  count(*) filter (where complete and status < 400) as answered_requests,
  count(*) filter (where status between 400 and 498) as refused_requests,
  count(*) filter (where status >= 500) as failed_requests,
  count(*) filter (where not complete and status < 400) as broken_off_requests,
  count(*) filter (where status = 499) as left_requests,
  round(percentile_cont(0.5) within group (order by duration_us)::numeric / 1e3, 3) as request_p50_ms,
  round(percentile_cont(0.99) within group (order by duration_us)::numeric / 1e3, 3) as request_p99_ms,
  round(percentile_cont(0.5) within group (order by first_content_us)::numeric / 1e3, 3) as first_content_p50_ms,
  round(percentile_cont(0.99) within group (order by first_content_us)::numeric / 1e3, 3) as first_content_p99_ms
from request_records
group by 1, 2, 3;
comment on view client_requests_by_hour is 'What clients met with, by UTC hour, tenant and route.';
comment on column client_requests_by_hour.hour is 'UTC hour in which the requests came.';
comment on column client_requests_by_hour.requests is 'All requests of known callers; each is in one of the five counts after it.';

create or replace view unit_costs as
select
  (start_time at time zone 'UTC')::date as day, tenant, alias, provider, model,
  count(distinct request_id collate "C") as requests,
  coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0) as tokens,
  sum(cost_nano_usd) as cost_nano_usd,
  round(sum(cost_nano_usd) / 1e9, 9) as cost_usd,
  round(sum(cost_nano_usd) / count(distinct request_id collate "C") / 1e9, 9) as usd_per_request,
  round(sum(cost_nano_usd) * 1000 / nullif(coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0), 0) / 1e9, 9)
    as usd_per_1000_tokens
from attempts_as_adjusted
where pricing = 'priced'
group by 1, 2, 3, 4, 5;
comment on view unit_costs is
  'What a request and a thousand tokens cost, by UTC day, tenant, alias, provider and model; only attempts whose cost is known.';
comment on column unit_costs.tokens is 'Input and output.';
comment on column unit_costs.usd_per_request is 'The cost of all attempts, failed ones among them, for each request that made one.';

create or replace view cost_retired as
select day, tenant, key, alias, provider, model, attempts, requests, input_tokens, cached_input_tokens, output_tokens,
  reasoning_tokens, cost_nano_usd, round(cost_nano_usd / 1e9, 9) as cost_usd, charge_nano_usd,
  round(charge_nano_usd / 1e9, 9) as charge_usd, estimated_attempts, unpriced_attempts
from retired_costs;
comment on view cost_retired is
  'Cost of months whose attempts are no longer kept, by UTC day, tenant, key, alias, provider and model. The other views know nothing of them.';

create or replace view balances as
select book, account, sum(amount_nano_usd) as balance_nano_usd, round(sum(amount_nano_usd) / 1e9, 9) as balance_usd
from (
  select book::text, credit_account as account, sum(amount_nano_usd) as amount_nano_usd from transfers group by 1, 2
  union all
  select book::text, debit_account, -sum(amount_nano_usd) from transfers group by 1, 2
  union all
  select book::text, credit_account, sum(amount_nano_usd) from adjustment_transfers group by 1, 2
  union all
  select book::text, debit_account, -sum(amount_nano_usd) from adjustment_transfers group by 1, 2
  union all
  select book::text, credit_account, amount_nano_usd from retired_transfers
  union all
  select book::text, debit_account, -amount_nano_usd from retired_transfers
) as moved
group by book, account;
comment on view balances is
  'What each account of a book received less what it gave, since the beginning, adjustments and retired months included. Each book sums to 0.';

create or replace view lost_leases as
select budget_id, subject, holder, expire_time,
  coalesce(end_time, expire_time + keep) as free_time,
  case when ended then lost_nano_usd else outstanding_nano_usd end as lost_nano_usd,
  round(case when ended then lost_nano_usd else outstanding_nano_usd end / 1e9, 9) as lost_usd
from budget_leases join budget_windows using (window_id) join budgets using (budget_key)
where case when ended then lost_nano_usd else outstanding_nano_usd end > 0 and expire_time < now();
comment on view lost_leases is
  'Money of budgets in the hands of pools that have gone silent: at most so much was spent by calls of theirs that are in no row. Nobody is charged for it.';
comment on column lost_leases.subject is 'The values that * in the budget''s scope stands for; empty when there is none.';
comment on column lost_leases.holder is
  'Id of the pool''s process, new at each start; of what was set aside for a batch that was never on record, the id of the attempt that made it.';
comment on column lost_leases.expire_time is 'When it should have been heard of at the latest.';
comment on column lost_leases.free_time is 'From when the budget has this money again: its calls cannot run any more.';
comment on column lost_leases.lost_nano_usd is
  'What it had in hand for calls under way and ahead of need, in 1e-9 USD; less what its journal brought later.';
comment on column lost_leases.lost_usd is 'The same in USD.';

comment on column budget_burn.leased_nano_usd is
  'What pools hold for calls under way, have in hand, or have spent without the ledger''s knowing, and what is set aside for batches under way, in 1e-9 USD.';

create or replace view attempt_details as
select
  attempt_id, request_id, (start_time at time zone 'UTC')::date as day, start_time, end_time,
  round((extract(epoch from end_time - start_time) * 1000)::numeric, 3) as duration_ms,
  round(first_token_us / 1e3, 3) as first_token_ms,
  tenant, key, end_user, tags, alias, provider, model, stream, outcome, provider_status, provider_reply_id,
  usage_source, usage_inconsistent, input_tokens, cached_input_tokens, cache_write_tokens, cache_write_long_tokens,
  audio_input_tokens, image_input_tokens, output_tokens, reasoning_tokens, audio_output_tokens, image_output_tokens,
  server_tool_uses, price_id, pricing, cost_nano_usd, round(cost_nano_usd / 1e9, 9) as cost_usd,
  charge_nano_usd, round(charge_nano_usd / 1e9, 9) as charge_usd, service_tier,
  adjustments, trued_up, original_cost_nano_usd, original_charge_nano_usd, original_input_tokens, original_output_tokens
from attempts_as_adjusted;
comment on view attempt_details is 'Everything that the ledger knows of each attempt, with what its adjustments bring it to.';
comment on column attempt_details.day is 'UTC day in which the attempt began.';
comment on column attempt_details.first_token_ms is 'From sending the request to the first content; null: none came.';
comment on column attempt_details.service_tier is
  'The tier that the provider served the attempt in, as it says, or, where it says none, as it was asked; null: the standard one.';
comment on column attempts_as_adjusted.service_tier is
  'The tier that the provider served the attempt in, as it says, or, where it says none, as it was asked; null: the standard one.';

-- Columns mean the same wherever they stand; what a view has said of one itself stays.
do $$
declare
  described record;
begin
  for described in
    select v.relname as view, c.attname as name, t.comment
    from (values
      ('account', 'An account of a book: usage/TENANT and provider/PROVIDER in cost, tenant/TENANT and revenue in charge.'),
      ('accepted_prediction_tokens', 'Predicted tokens that the answer took over.'),
      ('adjusted_attempts', 'Attempts that were priced anew or trued up since they were recorded.'),
      ('adjustments', 'How often the attempt was adjusted; see attempt_adjustments.'),
      ('alias', 'The model name that clients call.'),
      ('answered_requests', 'Those whose answer left whole, and was no error.'),
      ('attempt_id', 'UUID of version 7 made before the call left; as it came for what is no attempt.'),
      ('attempts', 'Calls to providers, retries and fallbacks included.'),
      ('audio_input_tokens', 'Part of input_tokens that was sound; null: not reported.'),
      ('audio_output_tokens', 'Part of output_tokens that was sound; null: not reported.'),
      ('balance_nano_usd', 'In 1e-9 USD; positive: the account received more than it gave.'),
      ('balance_usd', 'The same in USD.'),
      ('book', 'cost: what providers bill; charge: what tenants pay.'),
      ('broken_off_requests', 'Those whose answer began well and did not leave whole: the client left, or what it was made from failed.'),
      ('budget_id', 'Id of the budget.'),
      ('cache_write_long_tokens', 'Part of cache_write_tokens that was written for longer than the provider''s default; null: not reported.'),
      ('cache_write_tokens', 'Part of input_tokens that providers wrote to their caches.'),
      ('cached_input_tokens', 'Part of input_tokens that providers read from their caches.'),
      ('charge_max_nano_usd', 'The most that the tenant pays, since budgets set no more aside, in 1e-9 USD; null: no bound, or none that is known.'),
      ('charge_nano_usd', 'What tenants pay, in 1e-9 USD.'),
      ('charge_usd', 'What tenants pay, in USD.'),
      ('complete', 'Whether the answer left whole.'),
      ('completed_attempts', 'Those whose answer was complete.'),
      ('cost_nano_usd', 'What providers bill, in 1e-9 USD.'),
      ('cost_usd', 'What providers bill, in USD.'),
      ('day', 'UTC day in which the attempts began.'),
      ('disabled', 'Whether the budget is out of force.'),
      ('display_name', 'For people.'),
      ('duration_ms', 'From sending the request to the end, in milliseconds.'),
      ('duration_p50_ms', 'Median time from sending the request to the end, in milliseconds.'),
      ('duration_p95_ms', 'The time that 95 of a hundred attempts stay within, in milliseconds.'),
      ('end_time', 'When it ended; for what a crash cut off, when that was found.'),
      ('end_user', 'End user as the client named it; empty: not named.'),
      ('error_reason', 'Why the answer is an error, as clients are told it, in lower case; null: it is none.'),
      ('estimated', 'Whether counts of any attempt are estimated.'),
      ('estimated_attempts', 'Attempts whose counts are estimated.'),
      ('failed_requests', 'Those that were answered with a status of 500 or more.'),
      ('first_content_ms', 'From the arrival until the first content of a stream, in milliseconds; null: no stream, or none came.'),
      ('first_content_p50_ms', 'Median time from the arrival to the first content of streams, in milliseconds.'),
      ('first_content_p99_ms', 'The time that 99 of a hundred streams stay within.'),
      ('first_token_p95_ms', 'The time to the first content that 95 of a hundred attempts stay within.'),
      ('first_token_us', 'From sending the request to the first content, in microseconds; null: none came.'),
      ('image_input_tokens', 'Part of input_tokens that was pictures; null: not reported.'),
      ('image_output_tokens', 'Part of output_tokens that was pictures; null: not reported.'),
      ('input_tokens', 'All input tokens, cached ones included.'),
      ('journal_id', 'The journal that the event came from; empty: not known.'),
      ('key', 'Id of the API key; empty: none.'),
      ('leased_usd', 'leased_nano_usd in USD.'),
      ('left_requests', 'Those whose client left before the answer began.'),
      ('limit_nano_usd', 'What may be spent in a window, in 1e-9 USD.'),
      ('limit_usd', 'The same in USD.'),
      ('method', 'HTTP method; POST for gRPC.'),
      ('model', 'The model, as the provider names it.'),
      ('original_charge_nano_usd', 'charge_nano_usd as it was recorded first.'),
      ('original_cost_nano_usd', 'cost_nano_usd as it was recorded first.'),
      ('original_input_tokens', 'input_tokens as they were recorded first.'),
      ('original_output_tokens', 'output_tokens as they were recorded first.'),
      ('outcome', 'completed, cancelled by the client, failed before content, truncated after it, lost in a crash, or rejected by the provider.'),
      ('output_tokens', 'All output tokens, reasoning included.'),
      ('payload_bytes', 'Length of the event.'),
      ('price_id', 'The price in force when the attempt began, or the one that it was priced anew by; empty: none.'),
      ('pricing', 'priced, or why there is no cost: unpriced, price_unknown, usage_unknown, out_of_range.'),
      ('provider', 'Who was called.'),
      ('provider_reply_id', 'The provider''s id of the reply; empty: none.'),
      ('provider_status', 'HTTP status of the provider; 0: none.'),
      ('reason', 'content: the attempt stands with other content; sqlstate 23514: its month was retired; otherwise the field at fault.'),
      ('reasoning_tokens', 'Part of output_tokens spent on reasoning.'),
      ('receive_time', 'When the event came.'),
      ('refused_requests', 'Those that were answered with a status from 400 to 498.'),
      ('rejected_prediction_tokens', 'Predicted tokens that the answer did not take over, and that are billed.'),
      ('request_id', 'The client''s request (x-request-id of the answer); retries and fallbacks share it.'),
      ('request_ms', 'From the arrival until the answer had left, in milliseconds.'),
      ('request_p50_ms', 'Median time from the arrival until the answer had left, in milliseconds.'),
      ('request_p99_ms', 'The time that 99 of a hundred requests stay within.'),
      ('requests', 'Requests of clients.'),
      ('route', 'The path as a template, or a gRPC method.'),
      ('scope', 'Whose calls the budget is for.'),
      ('sequence', 'Number of the event in its journal; 0: not known.'),
      ('server_tool_uses', 'How often the provider''s own tools were used, by name; null: not reported.'),
      ('spent_percent', 'What was spent, of a hundred.'),
      ('spent_usd', 'spent_nano_usd in USD.'),
      ('stands_in_ledger', 'Whether a row of this attempt is in the ledger.'),
      ('start_time', 'When it began.'),
      ('status', 'HTTP status of the answer; 499: the client left before it began.'),
      ('stream', 'Whether the client asked for a stream.'),
      ('tag', 'Name of a tag.'),
      ('tags', 'Tags and their values; null: none.'),
      ('tenant', 'Who pays.'),
      ('trued_up', 'Whether its counts were changed to what the provider says of its day.'),
      ('unpriced_attempts', 'Attempts whose cost is not known.'),
      ('usage_inconsistent', 'A reported part was larger than its total, and was cut to it for the cost.'),
      ('usage_source', 'reported by the provider; counted by Weir; estimated, because the end was lost.'),
      ('usd_per_1000_tokens', 'Cost of a thousand tokens, input and output, in USD.'),
      ('value', 'The tag''s value.'),
      ('window_kind', 'What span the limit is for.')
    ) as t (name, comment)
    join pg_attribute c on c.attname = t.name and c.attnum > 0
    join pg_class v on v.oid = c.attrelid and v.relkind = 'v' and v.relnamespace = current_schema()::regnamespace
    where col_description(v.oid, c.attnum) is null
  loop
    execute format('comment on column %I.%I is %L', described.view, described.name, described.comment);
  end loop;
end $$;

-- Whoever is a member of weir_analyst reads every view here, and nothing beneath them.
create or replace procedure let_analysts_read() language plpgsql as $$
declare
  readable record;
begin
  execute format('grant usage on schema %I to weir_analyst', current_schema());
  for readable in
    select relname from pg_class
    where relkind = 'v' and relnamespace = current_schema()::regnamespace and pg_has_role(relowner, 'usage')
  loop
    execute format('grant select on %I to weir_analyst', readable.relname);
  end loop;
end $$;
revoke execute on procedure let_analysts_read from public;
comment on procedure let_analysts_read is 'Gives the role weir_analyst the views, those that are new since the last time among them.';
do $$
begin
  if exists (select from pg_roles where rolname = 'weir_analyst') then call let_analysts_read(); end if;
end $$;
