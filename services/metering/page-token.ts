import { createHash } from "node:crypto";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { isUuid } from "./ledger.ts";

/** Where a page ended: the range that its question had, and the values by which its last row is ordered. */
export interface PagePlace {
  /** Milliseconds since 1970. */
  readonly startTimeMs: number;
  readonly endTimeMs: number;
  readonly after: readonly string[];
}

/**
 * What a value of a place is. Anybody can write a token, so whatever a query takes it for must be sure before it is asked:
 * text that Postgres can hold, a whole number, `2026-11-20T12:00:00.000001Z`, a UUID.
 */
export type PlaceValue = "text" | "number" | "time" | "uuid";

const isValue: Readonly<Record<PlaceValue, (text: string) => boolean>> = {
  text: (text) => !text.includes("\0") && text.isWellFormed(),
  number: (text) => /^\d{1,38}$/.test(text),
  time: isTime,
  uuid: isUuid,
};

/** What asks for the page behind a place. @param question everything else that was asked: it must not change */
export function writePageToken({ startTimeMs, endTimeMs, after }: PagePlace, question: unknown): string {
  return Buffer.from(JSON.stringify([digestOf(question), startTimeMs, endTimeMs, ...after])).toString("base64url");
}

/** @param shape what a row is ordered by. @throws WeirError INVALID_REQUEST for a token that is not of this question */
export function readPageToken(token: string, question: unknown, shape: readonly PlaceValue[]): PagePlace {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, "base64url").toString());
  } catch {
    // No token, as below.
  }
  if (Array.isArray(parts)) {
    const [digest, startTimeMs, endTimeMs, ...after] = parts as unknown[];
    if (
      digest === digestOf(question) &&
      typeof startTimeMs === "number" &&
      typeof endTimeMs === "number" &&
      Number.isFinite(startTimeMs) &&
      Number.isFinite(endTimeMs) &&
      isPlace(after, shape)
    ) {
      return { startTimeMs, endTimeMs, after };
    }
  }
  throw noSuchPage();
}

/** For a token that this question was not answered with. */
export function noSuchPage(): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "`page_token` is not one that this question was answered with.",
    metadata: { param: "page_token" },
  });
}

function isPlace(values: readonly unknown[], shape: readonly PlaceValue[]): values is readonly string[] {
  return (
    values.length === shape.length &&
    shape.every((kind, index) => {
      const value = values[index];
      return typeof value === "string" && isValue[kind](value);
    })
  );
}

/** Microseconds of a day that there is, as queries write them. */
function isTime(text: string): boolean {
  const timeMs = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$/.test(text) ? Date.parse(text) : Number.NaN;
  // Date.parse takes 31 February for 3 March.
  const isThere = !Number.isNaN(timeMs) && new Date(timeMs).toISOString().slice(0, 19) === text.slice(0, 19);
  return isThere && !text.startsWith("0000");
}

function digestOf(question: unknown): string {
  return createHash("sha256").update(JSON.stringify(question)).digest("base64url").slice(0, 16);
}
