import { type PlaceValue, readPageToken, writePageToken } from "./page-token.ts";

/** A page of a list that has no range of time. */
export interface ListPage<T> {
  readonly rows: readonly T[];
  /** Empty: this is the last. */
  readonly nextPageToken: string;
}

interface PageRequest {
  readonly pageSize: number;
  readonly pageToken: string;
}

/** Rows of a page at most, and when no number is asked for. */
const pageSizeMax = 1_000;

/**
 * Reads one page.
 * @param question what the token must agree with
 * @param read up to `countMax` rows behind the one whose place is `after`; empty: from the first
 * @param placeOf by what a row is ordered
 * @param shape of a place
 * @throws WeirError INVALID_REQUEST for a token of another question
 */
export async function readPage<T>(
  { pageSize, pageToken }: PageRequest,
  question: readonly string[],
  read: (after: readonly string[], countMax: number) => Promise<readonly T[]>,
  placeOf: (row: T) => readonly [string, ...string[]],
  shape: readonly PlaceValue[] = ["text"],
): Promise<ListPage<T>> {
  const countMax = Math.min(pageSize || pageSizeMax, pageSizeMax);
  const after = pageToken === "" ? [] : readPageToken(pageToken, question, shape).after;
  const rows = await read(after, countMax + 1);
  const last = rows[countMax - 1];
  const isLast = rows.length <= countMax || last === undefined;
  return {
    rows: rows.slice(0, countMax),
    nextPageToken: isLast ? "" : writePageToken({ startTimeMs: 0, endTimeMs: 0, after: placeOf(last) }, question),
  };
}
