import type { ServiceImpl } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { LedgerService, RerateChangeSchema, RerateRequest } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { confinementOf } from "./confinement.ts";
import type { Database } from "./database.ts";
import { isUuid } from "./ledger.ts";
import { noSuchPage, readPageToken, writePageToken } from "./page-token.ts";
import { type PriceBookAsOf, readPriceBook } from "./price-lists.ts";
import { firstRerateOf, type ReratePage, type ReratePlace, reratePage, type RerateQuestion } from "./rerate-pages.ts";
import { trueUp } from "./true-up.ts";

export function createLedgerService(database: Database): ServiceImpl<typeof LedgerService> {
  // The book as of a time never changes, and a run asks for the same one page after page.
  let book: PriceBookAsOf | undefined;

  return {
    async rerate(request, context) {
      const by = confinementOf(context);
      const asked = questionOf(request);
      const place = placeOf(request, asked);
      if (book?.asOfMs !== asked.asOfMs) book = await readPriceBook(database, asked.asOfMs);
      const page = await reratePage(database, book, asked, place, request.apply, by);
      const count = (kind: string) => BigInt(page.ratings.filter(({ rating }) => rating.kind === kind).length);
      return {
        changes: changesOf(page),
        attemptCount: BigInt(page.ratings.length),
        unpricedCount: count("no_price"),
        unknownCount: count("no_amount"),
        nextPageToken: page.next === undefined ? "" : tokenOf(page.next, asked),
      };
    },

    async trueUp({ provider, model, day, counts }, context) {
      const by = confinementOf(context);
      if (counts === undefined) throw invalid("counts");
      const dayMs = Date.parse(day);
      // Date.parse takes 31 February for 3 March.
      if (Number.isNaN(dayMs) || new Date(dayMs).toISOString().slice(0, 10) !== day) throw invalid("day");
      const { adjustedCount, unreportedCount } = await trueUp(database, { provider, model, dayMs, counts }, by);
      return { adjustedCount: BigInt(adjustedCount), unreportedCount: BigInt(unreportedCount) };
    },
  };
}

/** No attempt began before. */
const firstTimeMs = Date.UTC(2000, 0, 1);

function questionOf({ asOf, startTime, endTime, tenant, provider, model }: RerateRequest): RerateQuestion {
  if (asOf === undefined) throw invalid("as_of");
  const asOfMs = timestampMs(asOf);
  const startTimeMs = startTime === undefined ? firstTimeMs : timestampMs(startTime);
  const endTimeMs = endTime === undefined ? asOfMs : timestampMs(endTime);
  if (!(startTimeMs >= 0 && startTimeMs < endTimeMs && endTimeMs <= Date.UTC(9999, 0, 1))) throw invalid("start_time");
  return { asOfMs, startTimeMs, endTimeMs, tenant, provider, model };
}

function placeOf({ pageToken }: RerateRequest, asked: RerateQuestion): ReratePlace {
  if (pageToken === "") return firstRerateOf(asked);
  const { startTimeMs: timeMs, after } = readPageToken(pageToken, ["rerate", asked], ["text", "number"]);
  const [attemptId = "", span = ""] = after;
  // A place outside of the range would price attempts anew that were not asked for.
  const isWithin = timeMs >= asked.startTimeMs && timeMs < asked.endTimeMs;
  if (!isWithin || !(attemptId === "" || isUuid(attemptId))) throw noSuchPage();
  return { timeMs, attemptId, spanMs: Number(span) };
}

function tokenOf({ timeMs, attemptId, spanMs }: ReratePlace, asked: RerateQuestion): string {
  const place = { startTimeMs: timeMs, endTimeMs: asked.endTimeMs, after: [attemptId, String(spanMs)] };
  return writePageToken(place, ["rerate", asked]);
}

type Change = MessageInitShape<typeof RerateChangeSchema>;

/** What changes on a page, summed up by day, names and prices, in their order. */
function changesOf({ ratings }: ReratePage): Change[] {
  const sums = new Map<string, Required<Omit<Change, "$typeName">>>();
  for (const { standing, rating } of ratings) {
    if (rating.kind !== "changed") continue;
    const { tenant, provider, model, priceId: priceIdBefore, priced: before } = standing;
    const { priceId, priced } = rating.adjustment;
    const day = new Date(standing.startTimeMs).toISOString().slice(0, 10);
    const place = JSON.stringify([day, tenant, provider, model, priceIdBefore, priceId]);
    const sum = sums.get(place);
    sums.set(place, {
      day,
      tenant,
      provider,
      model,
      priceIdBefore,
      priceId,
      attemptCount: BigInt(sum?.attemptCount ?? 0n) + 1n,
      costBeforeNanoUsd: BigInt(sum?.costBeforeNanoUsd ?? 0n) + (before.costNanoUsd ?? 0n),
      costNanoUsd: BigInt(sum?.costNanoUsd ?? 0n) + (priced.costNanoUsd ?? 0n),
      chargeBeforeNanoUsd: BigInt(sum?.chargeBeforeNanoUsd ?? 0n) + (before.chargeNanoUsd ?? 0n),
      chargeNanoUsd: BigInt(sum?.chargeNanoUsd ?? 0n) + (priced.chargeNanoUsd ?? 0n),
    });
  }
  return [...sums.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
}

function invalid(param: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `\`${param}\` is missing or malformed.`,
    metadata: { param },
  });
}
