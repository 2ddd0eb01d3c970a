import type { ClientBase } from "pg";
import {
  type AdjustmentRun,
  lockAdjustments,
  type Standing,
  standingColumns,
  type StandingRow,
  toStanding,
  writeAdjustments,
} from "./adjustments.ts";
import { attemptsAsAdjusted } from "./attempts-as-adjusted.ts";
import type { Confinement } from "./confinement.ts";
import type { Database } from "./database.ts";
import { recordAdjusted } from "./ledger-deeds.ts";
import type { PriceBookAsOf } from "./price-lists.ts";
import { type Rerating, rerate } from "./rerate.ts";

/** Which attempts are priced anew, and by which book. Times in milliseconds since 1970. */
export interface RerateQuestion {
  readonly asOfMs: number;
  readonly startTimeMs: number;
  /** The first moment behind the range. */
  readonly endTimeMs: number;
  /** Only of this tenant, provider, model; empty: of any. */
  readonly tenant: string;
  readonly provider: string;
  readonly model: string;
}

/** Behind which attempt a page begins. */
export interface ReratePlace {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** An id of an attempt that began in this millisecond, behind which the page begins; empty: none. */
  readonly attemptId: string;
  /** How long a time held about a page last: where to begin to look. It changes no answer. */
  readonly spanMs: number;
}

/** Attempts in their order, each with what the book says of it. */
export interface ReratePage {
  readonly ratings: readonly { readonly standing: Standing; readonly rating: Rerating }[];
  /** Undefined: this was the last page. */
  readonly next: ReratePlace | undefined;
}

/** Attempts of a page at most. */
export const reratePageRows = 1_000;

/** Where the first page begins. */
export function firstRerateOf(question: RerateQuestion): ReratePlace {
  return { timeMs: question.startTimeMs, attemptId: "", spanMs: firstSpanMs };
}

/**
 * Prices a page of attempts anew, in the order of the millisecond in which they began, and of their ids. With `apply`, the
 * page's adjustments are written in one transaction; a run that ends between two pages is finished by making it again.
 * @param by who asks
 * @throws WeirError STORE_UNAVAILABLE
 */
export async function reratePage(
  database: Database,
  book: PriceBookAsOf,
  question: RerateQuestion,
  place: ReratePlace,
  apply: boolean,
  by: Confinement,
): Promise<ReratePage> {
  const span = await findSpan(database, question, place);
  if (span === undefined) return { ratings: [], next: undefined };
  const ratings = await database.transaction(async (client) => {
    if (apply) await lockAdjustments(client);
    const standings = await readSpan(client, question, span);
    const rated = standings.map((standing) => ({ standing, rating: rerate(standing, book) }));
    if (apply) {
      const changed = rated.flatMap(({ rating }) => (rating.kind === "changed" ? [rating.adjustment] : []));
      await writeAdjustments(client, runOf(question), changed);
      await recordAdjusted(client, by, runOf(question), changed);
    }
    return rated;
  });
  const last = ratings.at(-1);
  if (ratings.length === reratePageRows && last !== undefined) {
    // Of a millisecond that holds more than a page, or of attempts that came since they were counted.
    const { startTimeMs: timeMs, attemptId } = last.standing;
    return { ratings, next: { timeMs, attemptId, spanMs: span.endTimeMs - span.startTimeMs } };
  }
  const isLast = span.endTimeMs >= question.endTimeMs;
  const spanMs = span.endTimeMs - span.startTimeMs;
  const next = { timeMs: span.endTimeMs, attemptId: "", spanMs: span.isSparse ? spanMs * spanGrowth : spanMs };
  return { ratings, next: isLast ? undefined : next };
}

function runOf({ asOfMs, startTimeMs, endTimeMs, tenant, provider, model }: RerateQuestion): AdjustmentRun {
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    reason: "rerate",
    question: {
      as_of: time(asOfMs),
      start_time: time(startTimeMs),
      end_time: time(endTimeMs),
      tenant,
      provider,
      model,
    },
  };
}

const firstSpanMs = 3_600_000;
const spanGrowth = 4;
/** A page beyond which the next time is looked for in longer ones. */
const sparseRows = reratePageRows / 8;

/** A time that holds a page at most, or is a millisecond. */
interface Span {
  readonly startTimeMs: number;
  readonly endTimeMs: number;
  readonly attemptId: string;
  readonly isSparse: boolean;
}

/**
 * The next time with attempts, short enough that they are one page: rows of a time are found by its blocks, in no order,
 * so that a longer one would be read again for each page. Which times are taken decides nothing but the sizes of pages.
 * @returns undefined when nothing more is in the range
 */
async function findSpan(database: Database, question: RerateQuestion, place: ReratePlace): Promise<Span | undefined> {
  let { timeMs: startTimeMs, attemptId } = place;
  let lengthMs = Math.max(1, Math.min(place.spanMs, spanMsMax));
  while (startTimeMs < question.endTimeMs) {
    const endTimeMs = Math.min(question.endTimeMs, startTimeMs + lengthMs);
    const span = { startTimeMs, endTimeMs, attemptId };
    const count = await database.transaction((client) => countUpTo(client, question, span));
    if (count > reratePageRows && endTimeMs - startTimeMs > 1) {
      lengthMs = Math.max(1, Math.floor((endTimeMs - startTimeMs) / spanGrowth));
    } else if (count === 0) {
      // What lay behind an id lay in this first millisecond or in none.
      startTimeMs = endTimeMs;
      lengthMs = Math.min(lengthMs * spanGrowth, spanMsMax);
      attemptId = "";
    } else return { ...span, isSparse: count <= sparseRows };
  }
  return undefined;
}

/** A hundred years. */
const spanMsMax = 3_155_760_000_000;

async function countUpTo(client: ClientBase, question: RerateQuestion, span: Omit<Span, "isSparse">): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    `select count(*)::int as count from (select from attempts where ${inSpan} limit ${reratePageRows + 1}) as found`,
    valuesOf(question, span),
  );
  return rows[0]?.count ?? 0;
}

async function readSpan(client: ClientBase, question: RerateQuestion, span: Span): Promise<Standing[]> {
  const { rows } = await client.query<StandingRow>(
    `select ${standingColumns} from ${attemptsAsAdjusted} where ${inSpan}
     order by date_trunc('milliseconds', start_time), attempt_id limit ${reratePageRows}`,
    valuesOf(question, span),
  );
  return rows.map(toStanding);
}

/** Of `valuesOf`. The id counts in the first millisecond only. */
const inSpan = `start_time >= $1 and start_time < $2
  and ($3 = '' or start_time >= $1::timestamptz + interval '1 millisecond' or attempt_id > nullif($3, '')::uuid)
  and ($4 = '' or tenant = $4) and ($5 = '' or provider = $5) and ($6 = '' or model = $6)`;

function valuesOf({ tenant, provider, model }: RerateQuestion, span: Omit<Span, "isSparse">): unknown[] {
  const { startTimeMs, endTimeMs, attemptId } = span;
  return [new Date(startTimeMs), new Date(endTimeMs), attemptId, tenant, provider, model];
}
