import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { SQL } from "drizzle-orm";
import { and, gte, lt, sql } from "./drizzle.ts";
import { type PagePlace, type PlaceValue, readPageToken } from "./page-token.ts";
import { attempts } from "./schema.ts";

/** Which attempts are asked for; empty: any. */
export interface UsageFilter {
  readonly tenant: string;
  readonly key: string;
  readonly user: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  /** `team=search`, or `team` for any value. */
  readonly tag: string;
  readonly requestId?: string;
}

/** Attempts that began in a time, and where a page of them begins. */
export interface UsageRange {
  /** Milliseconds since 1970. */
  readonly startTimeMs: number;
  /** The first moment behind it. */
  readonly endTimeMs: number;
  /** The values by which the last row of the page before is ordered; none: this is the first page. */
  readonly after: readonly string[];
}

interface RangeRequest {
  readonly startTime?: Timestamp | undefined;
  readonly endTime?: Timestamp | undefined;
  readonly pageToken: string;
}

/**
 * @param question what a page token must agree with
 * @param shape what a row is ordered by
 * @throws WeirError INVALID_REQUEST for an empty or unthinkable range, or a token of another question
 */
export function readRange(
  request: RangeRequest,
  question: unknown,
  shape: readonly PlaceValue[],
  nowMs: number,
): UsageRange {
  const place: PagePlace | undefined =
    request.pageToken === "" ? undefined : readPageToken(request.pageToken, question, shape);
  const endTimeMs = place?.endTimeMs ?? (request.endTime ? timestampMs(request.endTime) : nowMs);
  const startTimeMs =
    place?.startTimeMs ?? (request.startTime ? timestampMs(request.startTime) : endTimeMs - defaultRangeMs);
  if (!(startTimeMs >= timeMinMs && startTimeMs < endTimeMs && endTimeMs <= timeMaxMs)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`start_time` must lie before `end_time`.",
      metadata: { param: "start_time" },
    });
  }
  return { startTimeMs, endTimeMs, after: place?.after ?? [] };
}

const defaultRangeMs = 30 * 24 * 3_600_000;
const timeMinMs = 0;
const timeMaxMs = Date.UTC(9999, 0, 1);

/** The condition that attempts of a range meet, wherever its page begins. */
export function attemptsIn({ startTimeMs, endTimeMs }: UsageRange, filter: UsageFilter): SQL | undefined {
  const tagName = tagNameOf(filter);
  const [, ...tagValue] = filter.tag.split("=");
  const wanted = [
    [attempts.tenant, filter.tenant],
    [attempts.key, filter.key],
    [attempts.endUser, filter.user],
    [attempts.alias, filter.alias],
    [attempts.provider, filter.provider],
    [attempts.model, filter.model],
    [attempts.requestId, filter.requestId ?? ""],
    [sql`${attempts.tags} ->> ${tagName}::text`, tagValue.join("=")],
  ] as const;
  return and(
    gte(attempts.startTime, new Date(startTimeMs)),
    lt(attempts.startTime, new Date(endTimeMs)),
    tagName === "" ? undefined : sql`jsonb_exists(${attempts.tags}, ${tagName}::text)`,
    ...wanted.map(([column, value]) => (value === "" ? undefined : sql`${column} = ${value}`)),
  );
}

/** `team` of `team=search` and of `team`; empty: any. */
export function tagNameOf({ tag }: Pick<UsageFilter, "tag">): string {
  return tag.split("=", 1)[0] ?? "";
}
