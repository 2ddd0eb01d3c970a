import { createHash } from "node:crypto";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** Where a page ended: the range that its question had, and the values by which its last row is ordered. */
export interface PagePlace {
  /** Milliseconds since 1970. */
  readonly startTimeMs: number;
  readonly endTimeMs: number;
  readonly after: readonly string[];
}

/** What asks for the page behind a place. @param question everything else that was asked: it must not change */
export function writePageToken({ startTimeMs, endTimeMs, after }: PagePlace, question: unknown): string {
  return Buffer.from(JSON.stringify([digestOf(question), startTimeMs, endTimeMs, ...after])).toString("base64url");
}

/** @param lengthOfAfter how many values a row is ordered by. @throws WeirError INVALID_REQUEST for a token that is not of this question */
export function readPageToken(token: string, question: unknown, lengthOfAfter: number): PagePlace {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, "base64url").toString());
  } catch {
    // No token, as below.
  }
  if (Array.isArray(parts)) {
    const [digest, startTimeMs, endTimeMs, ...after] = parts as unknown[];
    const isTexts = (values: unknown[]): values is string[] => values.every((value) => typeof value === "string");
    if (
      digest === digestOf(question) &&
      typeof startTimeMs === "number" &&
      typeof endTimeMs === "number" &&
      after.length === lengthOfAfter &&
      isTexts(after)
    ) {
      return { startTimeMs, endTimeMs, after };
    }
  }
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "`page_token` is not one that this question was answered with.",
    metadata: { param: "page_token" },
  });
}

function digestOf(question: unknown): string {
  return createHash("sha256").update(JSON.stringify(question)).digest("base64url").slice(0, 16);
}
