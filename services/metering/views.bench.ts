import { createPriceList, type Price, priceId } from "@weir/price/price";
import pg from "pg";
import { openDatabase } from "./database.ts";
import { keepMonths } from "./months.ts";
import { meteringOn, openTestDatabase } from "./testing.ts";

// How fast the views answer: `node services/metering/views.bench.ts [rows]` fills a ledger of a hundred days and prints a
// table. WEIR_BENCH_DATABASE_URL names a database that is filled when it is empty, and kept; without it a private one
// is made and dropped. Ten million rows take 5 GB of disk.

const rowCount = Number(process.argv[2] ?? 10_000_000);
const days = 100;
const dayMs = 86_400_000;
const firstDayMs = Date.UTC(2026, 7, 1);
/** In the middle of a month that is not the newest. */
const day = "2026-10-14";
const runs = 5;

/** Every view that knows a day. */
const questions: readonly (readonly [view: string, where: string])[] = [
  ["cost_by_hour", `hour >= '${day}' and hour < '2026-10-15'`],
  ...[
    "cost_by_day",
    "cost_by_tenant",
    "cost_by_key",
    "cost_by_user",
    "cost_by_tag",
    "cost_by_alias",
    "cost_by_provider",
    "cost_by_model",
    "unit_costs",
    "cache_savings",
    "latency_and_cost",
    "requests",
    "attempt_details",
    "attempts_estimated",
  ].map((view) => [view, `day = '${day}'`] as const),
  ["attempts_conflicting", "true"],
];

const models = Array.from({ length: 12 }, (_, index) => ({
  provider: `provider-${index % 4}`,
  model: `model-${index}`,
}));
const prices = models.map(
  (target): Price => ({
    ...target,
    effectiveTime: undefined,
    id: priceId({ ...target, effectiveTime: undefined }),
    nanoUsdPerMillion: {
      input: 2_000_000_000n,
      cachedInput: 500_000_000n,
      cacheWrite: 2_500_000_000n,
      output: 8_000_000_000n,
    },
    source: "bench",
  }),
);

/** A day of attempts: a tenth of the requests has two, a third has tags, two fifths read from a cache. */
const fillDay = `
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
  ) as timed`;

async function fill(query: (text: string, values?: unknown[]) => Promise<unknown>): Promise<void> {
  const perDay = Math.ceil(rowCount / days);
  for (let index = 0; index < days; index++) {
    await query(fillDay, [index * perDay, (index + 1) * perDay - 1, firstDayMs, dayMs, perDay]);
  }
  await query(
    `insert into conflicts (conflict_id, attempt_id, reason, journal_id, sequence, payload)
     select sha256(attempt_id::text::bytea), attempt_id::text, 'content', '', 1, '' from attempts
     where attempt_id >= first_attempt_id('${day} 00:00Z') limit 1000`,
  );
  await query("vacuum analyze");
}

const url = process.env["WEIR_BENCH_DATABASE_URL"];
const made = url === undefined ? await openTestDatabase("postgres") : undefined;
const database = made?.database ?? (await openDatabase({ url: String(url) }));
const place = made?.place ?? { url: String(url) };
if (!("url" in place)) throw new Error("no server");
await meteringOn(database).prepare(createPriceList(prices));
for (let monthMs = firstDayMs; monthMs < firstDayMs + (days + 31) * dayMs; monthMs += 28 * dayMs) {
  await keepMonths(database, monthMs, undefined);
}
const client = new pg.Client({ connectionString: place.url });
await client.connect();
const isEmpty = (await client.query("select from attempts limit 1")).rowCount === 0;
if (isEmpty) {
  const start = performance.now();
  await fill((text, values) => client.query(text, values));
  console.log(`filled in ${Math.round((performance.now() - start) / 1000)} s`);
}
const { rows: facts } = await client.query<{ rows: string; size: string; version: string }>(
  `select count(*) as rows, pg_size_pretty(pg_database_size(current_database())) as size,
     current_setting('server_version') as version from attempts`,
);
console.log(`${facts[0]?.rows} attempts, ${facts[0]?.size}, Postgres ${facts[0]?.version}, one day: ${day}\n`);
console.log("| view | rows | first, ms | median of five, ms |\n| --- | ---: | ---: | ---: |");
for (const [view, where] of questions) {
  const times: number[] = [];
  let count = "";
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    // Counting whole rows makes every column, and none has to travel.
    const { rows } = await client.query<{ count: string }>(
      `select count(v) from (select * from ${view} where ${where}) as v`,
    );
    times.push(performance.now() - start);
    count = rows[0]?.count ?? "";
  }
  const [first = 0] = times;
  const median = times.toSorted((a, b) => a - b)[runs >> 1] ?? 0;
  console.log(`| ${view} | ${count} | ${first.toFixed(0)} | ${median.toFixed(0)} |`);
}
await client.end();
await (made?.end() ?? database.close());
