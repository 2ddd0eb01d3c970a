-- What analysts read. Names of views and columns are stable: columns are only ever added, at the end. `entries` is a view
-- too; 0002_transfers.sql makes it.
-- Amounts: *_nano_usd is an integer of 1e-9 USD, *_usd the same as a decimal of USD. Days and hours are UTC.

-- The cost views: the same sums by a span of time and different columns. No one of them can be summed up from another,
-- because requests are counted by their ids.
do $$
declare
  cost_view record;
  described record;
begin
  for cost_view in
    select * from (values
      ('cost_by_hour', 'hour', 'tenant, alias, provider, model',
        'Cost by UTC hour of the attempt''s start, tenant, alias, provider and model.'),
      ('cost_by_day', 'day', 'tenant, alias, provider, model',
        'Cost by UTC day of the attempt''s start, tenant, alias, provider and model.'),
      ('cost_by_tenant', 'day', 'tenant', 'Cost by UTC day and tenant.'),
      ('cost_by_key', 'day', 'tenant, key', 'Cost by UTC day, tenant and API key (its id; join keys for the name).'),
      ('cost_by_user', 'day', 'tenant, end_user',
        'Cost by UTC day, tenant and end user as the client named it; empty: not named.'),
      ('cost_by_alias', 'day', 'alias', 'Cost by UTC day and alias, the model name that clients call.'),
      ('cost_by_provider', 'day', 'provider', 'Cost by UTC day and provider.'),
      ('cost_by_model', 'day', 'provider, model', 'Cost by UTC day, provider and model.')
    ) as t (name, span, dimensions, comment)
  loop
    execute format(
      $view$
        create or replace view %1$I as
        select
          %2$s as %3$I,
          %4$s,
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
        group by %2$s, %4$s
      $view$,
      cost_view.name,
      case cost_view.span
        when 'hour' then 'date_trunc(''hour'', start_time at time zone ''UTC'')'
        else '(start_time at time zone ''UTC'')::date'
      end,
      cost_view.span,
      cost_view.dimensions
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
        ('unpriced_attempts', 'Attempts whose cost is not known.')
      ) as t (name, comment)
    loop
      execute format('comment on column %I.%I is %L', cost_view.name, described.name, described.comment);
    end loop;
  end loop;
end $$;

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
