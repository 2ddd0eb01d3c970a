import { parseArgs } from "node:util";
import { createPriceList } from "@weir/price/price";
import pg from "pg";
import { readerSettings } from "./analysts.ts";
import { openDatabase } from "./database.ts";
import { keepMonths } from "./months.ts";
import { meteringOn, openTestDatabase } from "./testing.ts";
import { viewQuestions } from "./view-questions.ts";
import {
  adjustedDay,
  adjustLedger,
  benchDays,
  benchPrices,
  dayMs,
  fillLedger,
  firstDayMs,
  isAdjusted,
  ordinaryDay,
} from "./views-under-bench.ts";

// How fast the views answer:
//
//     node services/metering/views.bench.ts [fill] [measure] [adjust] [--rows N] [--database URL] [--for SECONDS] [--view NAME]
//
// fills a ledger of a hundred days, asks each view for one day with the settings that analysts have, adjusts a hundredth of
// all attempts and the whole of another day, and asks for both days. Words choose steps; without any: fill measure adjust measure. Ten million rows (the default) take
// ten minutes and 9 GB. --database names a database that is kept, and filled as far as it is not; without it a private one is made
// and dropped. --for ends the fill after so long, to be gone on with by the next run; --view measures one view alone.

const runs = 5;
/** What takes longer is asked for once. */
const slowMs = 3_000;

const steps = { fill, measure, adjust };
type Step = keyof typeof steps;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string", default: "10000000" },
    database: { type: "string" },
    for: { type: "string", default: "100000" },
    view: { type: "string" },
  },
});
const untilMs = performance.now() + Number(values.for) * 1_000;
const chosen = positionals.length === 0 ? ["fill", "measure", "adjust", "measure"] : positionals;

const url = values.database;
const made = url === undefined ? await openTestDatabase("postgres") : undefined;
const database = made?.database ?? (await openDatabase({ url: String(url) }));
const place = made?.place ?? { url: String(url) };
if (!("url" in place)) throw new Error("no server");
const client = new pg.Client({ connectionString: place.url });
await client.connect();
for (const word of chosen) {
  if (!(word in steps)) throw new Error(`${word} is no step: fill, measure, adjust`);
  if (!(await steps[word as Step]())) break;
}
await client.end();
await (made?.end() ?? database.close());

/** Each step returns whether the next one may come. */
async function fill(): Promise<boolean> {
  await meteringOn(database).prepare(createPriceList(benchPrices));
  for (let monthMs = firstDayMs; monthMs < firstDayMs + (benchDays + 31) * dayMs; monthMs += 28 * dayMs) {
    await keepMonths(database, monthMs, undefined);
  }
  const start = performance.now();
  const days = await fillLedger(client, Number(values.rows), untilMs);
  console.log(`${days} of ${benchDays} days are filled; ${Math.round((performance.now() - start) / 1000)} s now`);
  return days === benchDays;
}

async function adjust(): Promise<boolean> {
  const start = performance.now();
  await adjustLedger(client);
  console.log(`adjusted in ${Math.round((performance.now() - start) / 1000)} s`);
  return true;
}

async function measure(): Promise<boolean> {
  const { rows: facts } = await client.query<{ rows: string; size: string; version: string }>(
    `select count(*) as rows, pg_size_pretty(pg_database_size(current_database())) as size,
       current_setting('server_version') as version from attempts`,
  );
  console.log(`${facts[0]?.rows} attempts, ${facts[0]?.size}, Postgres ${facts[0]?.version}`);
  const days = (await isAdjusted(client)) ? [ordinaryDay, adjustedDay] : [ordinaryDay];
  for (const [name, value] of Object.entries(readerSettings)) await client.query(`set ${name} = '${value}'`);
  for (const day of days) await measureDay(day);
  await client.query("reset all");
  return true;
}

async function measureDay(day: string): Promise<void> {
  const { rows } = await client.query<{ adjusted: string }>(
    `select sum(adjusted_attempts) as adjusted from cost_by_provider where day = '${day}'`,
  );
  console.log(`\n${day}, ${rows[0]?.adjusted} attempts adjusted\n`);
  console.log("| view | asked for | rows | first, ms | median, ms |\n| --- | --- | ---: | ---: | ---: |");
  for (const { view, asked, where } of viewQuestions) {
    if (values.view !== undefined && view !== values.view) continue;
    // What knows no day says the same again.
    if (asked === "all" && day !== ordinaryDay) continue;
    const times: number[] = [];
    let count = "";
    for (let run = 0; run < runs && (times[0] ?? 0) < slowMs; run++) {
      const start = performance.now();
      // Counting whole rows makes every column, and none has to travel.
      const answer = await client.query<{ count: string }>(
        `select count(v) from (select * from ${view} where ${where(day)}) as v`,
      );
      times.push(performance.now() - start);
      count = answer.rows[0]?.count ?? "";
    }
    const [first = 0] = times;
    const median = times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
    console.log(`| ${view} | ${asked} | ${count} | ${first.toFixed(0)} | ${median.toFixed(0)} |`);
  }
}
