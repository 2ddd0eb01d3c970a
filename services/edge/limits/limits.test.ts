import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { createManualClock } from "../testing/manual-clock.ts";
import { createLimits, type Limited, type LimitName } from "./limits.ts";

const defaults = { requestsPerMinute: 3, tokensPerMinute: 100 };
const key: Limited = { id: "a", requestsPerMinute: undefined, tokensPerMinute: undefined };

function setUp() {
  const clock = createManualClock();
  const refused: LimitName[] = [];
  const limits = createLimits({ clock, defaults: () => defaults, onRefused: (limit) => refused.push(limit) });
  return { clock, limits, refused };
}

function reasonOf(call: () => unknown): WeirError | undefined {
  try {
    call();
    return undefined;
  } catch (thrown) {
    return thrown as WeirError;
  }
}

test("keys are limited apart, by their own limit or the default", () => {
  const { limits, refused } = setUp();
  const generous: Limited = { ...key, id: "b", requestsPerMinute: 5 };
  for (let index = 0; index < 3; index++) limits.takeRequest(key);
  const error = reasonOf(() => limits.takeRequest(key));
  expect(error).toBeInstanceOf(WeirError);
  expect(error?.reason).toBe(ErrorReason.RATE_LIMITED);
  expect(error?.metadata).toEqual({ limit: "requests" });
  for (let index = 0; index < 5; index++) limits.takeRequest(generous);
  expect(refused).toEqual(["requests"]);
});

test("a delay is never longer than clients obey", () => {
  const { limits } = setUp();
  limits.reserveTokens(key, 100);
  const error = reasonOf(() => limits.reserveTokens(key, 100));
  expect(error?.retryAfterMs).toBe(60_000);
});

test("a reservation settles once", () => {
  const { limits } = setUp();
  const remaining = () => limits.standings(key).tokens.remaining;
  const reservation = limits.reserveTokens(key, 60);
  expect(remaining()).toBe(40);
  reservation.settle(10);
  expect(remaining()).toBe(90);
  reservation.settle(0);
  expect(remaining()).toBe(90);
});

test("a call larger than the limit is let through when the key has used none", () => {
  const { limits, clock } = setUp();
  limits.reserveTokens(key, 5_000).settle(5_000);
  expect(reasonOf(() => limits.reserveTokens(key, 1))?.reason).toBe(ErrorReason.RATE_LIMITED);
  clock.advance(61_000);
  expect(reasonOf(() => limits.reserveTokens(key, 5_000))).toBeUndefined();
});

test("idle keys are forgotten", () => {
  const { limits, clock } = setUp();
  limits.takeRequest(key);
  expect(limits.keyCount).toBe(1);
  clock.advance(125_000);
  expect(limits.keyCount).toBe(0);
  limits.close();
  expect(clock.waiting).toBe(0);
});
