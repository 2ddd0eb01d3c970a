import type { ClientBase } from "pg";
import { type Price, priceId } from "@weir/price/price";
import { postingOf, postingOfAdjustments } from "./transfers.ts";

// The ledger that views.bench.ts measures. Filled day by day, so that a fill that was interrupted goes on.

export const benchDays = 100;
export const dayMs = 86_400_000;
export const firstDayMs = Date.UTC(2026, 7, 1);
/** In the middle of a month that is not the newest. */
export const ordinaryDay = "2026-10-14";
/** Each of whose attempts is adjusted; of all other days a hundredth is. */
export const adjustedDay = "2026-10-15";

const models = Array.from({ length: 12 }, (_, index) => ({
  provider: `provider-${index % 4}`,
  model: `model-${index}`,
}));

const nanoUsdPerMillion = {
  input: 2_000_000_000n,
  cachedInput: 500_000_000n,
  cacheWrite: 2_500_000_000n,
  output: 8_000_000_000n,
};

/** Each second one has rates for long input and for batches. */
export const benchPrices = models.map(
  (target, index): Price => ({
    ...target,
    effectiveTime: undefined,
    id: priceId({ ...target, effectiveTime: undefined }),
    nanoUsdPerMillion,
    ...(index % 2 === 0
      ? {}
      : {
          tiers: [
            {
              serviceTier: "",
              inputTokensAbove: 3_000,
              nanoUsdPerMillion: { ...nanoUsdPerMillion, input: 4_000_000_000n },
            },
            {
              serviceTier: "batch",
              inputTokensAbove: 0,
              nanoUsdPerMillion: { ...nanoUsdPerMillion, input: 1_000_000_000n },
            },
          ],
        }),
    source: "bench",
  }),
);

/** A day of attempts: a tenth of the requests has two, a third has tags, two fifths read from a cache. */
const fillDay = `
  with day as (
    insert into attempts (attempt_id, request_id, tenant, key, end_user, alias, provider, model, stream, outcome, usage_source,
      input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, usage_inconsistent, price_id, pricing, cost_nano_usd,
      charge_nano_usd, start_time, end_time, first_token_us, provider_status, provider_reply_id, content_digest, tags)
    select
      (lpad(to_hex(ms), 12, '0') || '7' || substr(random, 1, 3) || '8' || substr(random, 4, 15))::uuid,
      'req_' || lpad(to_hex(request_ms), 12, '0') || substr(md5(request::text), 1, 20),
      'tenant-' || request % 50, 'key-' || request % 200, 'user-' || request % 5000, 'alias-' || request % 5,
      'provider-' || i % 4, 'model-' || i % 12, i % 2 = 0, case when i % 50 = 0 then 'failed' else 'completed' end,
      case when i % 1000 = 0 then 'estimated' else 'reported' end,
      1000 + i % 3000, case when i % 5 < 2 then 800 end, 50 + i % 500, 0, false,
      'provider-' || i % 4 || '/model-' || i % 12 || '@always', 'priced', 2000000 + i % 1000000, 2000000 + i % 1000000,
      to_timestamp(ms / 1e3), to_timestamp((ms + 500 + i % 4000) / 1e3), 100000 + i % 900000, 200, 'chatcmpl-' || i,
      decode(random, 'hex'),
      case when i % 3 = 0 then jsonb_build_object('team', 'team-' || i % 20, 'job', 'job-' || i % 7) end
    from (
      select i, md5(i::text) as random, request,
        $3::int8 + i * $4::int8 / $5::int8 as ms, $3::int8 + request * $4::int8 / $5::int8 as request_ms
      from (select i, case when i % 11 = 10 then i - 1 else i end as request from generate_series($1::int8, $2::int8) i) as numbered
    ) as timed
    returning attempt_id, tenant, provider, cost_nano_usd, charge_nano_usd
  )
  ${postingOf("day")}`;

/** What clients met with: a request for each of a day's. */
const fillRequests = `
  insert into request_records
  select distinct on (request_id) request_id, tenant, key, 'POST', '/v1/chat/completions', 200, true, '', start_time,
    (extract(epoch from end_time - start_time) * 1e6)::int8, first_token_us
  from attempts where start_time >= to_timestamp($1 / 1e3) and start_time < to_timestamp($2 / 1e3)
  order by request_id
  on conflict do nothing`;

/** What does not come with a day's attempts: events kept aside, days of the past (whichever they were), budgets, lost leases. */
const fillOthers = `
  insert into conflicts (conflict_id, attempt_id, reason, journal_id, sequence, payload)
  select sha256(attempt_id::text::bytea), attempt_id::text, 'content', '', 1, '' from attempts
  where attempt_id >= first_attempt_id('${ordinaryDay} 00:00Z') limit 1000;
  insert into retired_costs
  select '2026-07-23'::date + day, 'tenant-' || i % 50, 'key-' || i % 200, 'alias-' || i % 5, 'provider-' || i % 4, 'model-' || i,
    50, 45, 100000, 20000, 15000, 0, 100000000, 100000000, 0, 0
  from generate_series(0, 99) day, generate_series(1, 2000) i;
  with budget as (
    insert into budgets (budget_id, display_name, scope, limit_nano_usd, window_kind, soft_percents, revision)
    select 'bench-' || n, 'Bench ' || n, '{}', 9e15::int8, 'month', '[]', n from generate_series(1, 2000) as n returning budget_key
  ), span as (
    insert into budget_windows (budget_key, subject, start_time, spent_nano_usd, leased_nano_usd)
    select budget_key, '', date_trunc('month', now() at time zone 'UTC') at time zone 'UTC', 1e15::int8, 1e12::int8 from budget
    returning window_id
  )
  insert into budget_leases (window_id, holder, outstanding_nano_usd, granted_total_nano_usd, expire_time, keep)
  select window_id, gen_random_uuid(), 1e12::int8, 1e12::int8, now() - interval '1 minute', '1 hour' from span;`;

/**
 * Fills the ledger as far as it is not.
 * @param untilMs by `performance.now()`: no day is begun later
 * @returns days that there are
 */
export async function fillLedger(client: ClientBase, rowCount: number, untilMs: number): Promise<number> {
  const perDay = Math.ceil(rowCount / benchDays);
  const { rows } = await client.query<{ time: Date }>(
    "select start_time as time from attempts order by attempt_id desc limit 1",
  );
  const [last] = rows;
  let day = last === undefined ? 0 : Math.floor((last.time.getTime() - firstDayMs) / dayMs) + 1;
  if (day >= benchDays) return day;
  while (day < benchDays && performance.now() < untilMs) {
    await client.query("begin");
    await client.query(fillDay, [day * perDay, (day + 1) * perDay - 1, firstDayMs, dayMs, perDay]);
    await client.query(fillRequests, [firstDayMs + day * dayMs, firstDayMs + (day + 1) * dayMs]);
    await client.query("commit");
    day += 1;
  }
  if (day === benchDays) {
    await client.query(fillOthers);
    await client.query("vacuum analyze");
  }
  return day;
}

const runId = "0".repeat(32);

/** All attempts of one day, and a hundredth of the others, are priced anew. Does nothing the second time. */
export async function adjustLedger(client: ClientBase): Promise<void> {
  if (await isAdjusted(client)) return;
  await client.query("begin");
  await client.query(
    `insert into adjustment_runs (run_id, reason, question) values ('${runId}', 'rerate', '{"as_of": "2026-11-21T00:00:00Z"}')`,
  );
  await client.query(`
    create temporary table changed on commit drop as
    select attempt_id, tenant, provider, 1 as number, price_id, cost_nano_usd + 1000 as cost_nano_usd,
      charge_nano_usd + 1000 as charge_nano_usd, 1000::int8 as cost_delta, 1000::int8 as charge_delta,
      input_tokens, cached_input_tokens, output_tokens, reasoning_tokens
    from attempts
    where right(provider_reply_id, 2) = '17' or (start_time at time zone 'UTC')::date = '${adjustedDay}'`);
  await client.query(`
    insert into adjustments select attempt_id, number, '${runId}', tenant, price_id, 'priced', cost_delta, charge_delta, 0, 0, 0, 0, 0, 0
    from changed`);
  await client.query(postingOfAdjustments("changed"));
  await client.query(`
    insert into attempt_standings (attempt_id, tenant, number, trued_up, price_id, pricing, cost_nano_usd, charge_nano_usd,
      input_tokens, cached_input_tokens, output_tokens, reasoning_tokens)
    select attempt_id, tenant, number, false, price_id, 'priced', cost_nano_usd, charge_nano_usd,
      input_tokens, cached_input_tokens, output_tokens, reasoning_tokens from changed`);
  await client.query("commit");
  await client.query("vacuum analyze adjustments, adjustment_transfers, attempt_standings");
}

export async function isAdjusted(client: ClientBase): Promise<boolean> {
  const { rowCount } = await client.query("select from attempt_standings limit 1");
  return rowCount === 1;
}
