import { hash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import { type Usage, UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, type BudgetHold, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type PricedUsage, priceUsage, unpriced } from "@weir/price/charge";
import { billableTokens, type Price } from "@weir/price/price";

/** How an attempt ended; see weir.metering.v1.AttemptOutcome. */
export type Outcome = "completed" | "cancelled" | "failed" | "truncated" | "lost" | "rejected";

/** One row of `attempts`. Texts hold no NUL and at most 512 characters. */
export interface AttemptRow extends PricedUsage {
  /** Lower case. */
  readonly attemptId: string;
  readonly requestId: string;
  readonly tenant: string;
  readonly key: string;
  readonly endUser: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly stream: boolean;
  readonly outcome: Outcome;
  readonly usageSource: string;
  readonly usage: Usage;
  /** JSON; null when there were none. */
  readonly serverToolUses: string | null;
  /** JSON; null when there were none. */
  readonly tags: string | null;
  /** Null: the standard one, or not said. */
  readonly serviceTier: string | null;
  readonly usageInconsistent: boolean;
  readonly priceId: string;
  /** The most that the tenant pays; null: no budget bounds it. */
  readonly chargeMaxNanoUsd: bigint | null;
  /** Microseconds since 1970. */
  readonly startTimeUs: number;
  readonly endTimeUs: number;
  readonly firstTokenUs: bigint | null;
  readonly providerStatus: number;
  readonly providerReplyId: string;
  /** 16 bytes in hex, over everything that the event says. */
  readonly contentDigest: string;
  /** What the attempt takes from leases of budgets; undefined: no budget is about it. No column. */
  readonly budgetCharge: BudgetCharge | undefined;
}

/** What one recorded attempt takes from each of the leases that covered it. */
export interface BudgetCharge {
  readonly leaseIds: readonly bigint[];
  readonly nanoUsd: bigint;
}

/** An event that no row can hold. */
export class MalformedEvent extends Error {
  override readonly name = "MalformedEvent";
  /** The field at fault. */
  readonly field: string;
  constructor(field: string) {
    super(`malformed usage event: ${field}`);
    this.field = field;
  }
}

/**
 * The row of one usage event. Pure: redelivery gives the same row, as long as the price is known.
 * @param event counts of tokens as the vendor reported them; absent means not reported, not zero
 * @param price the one that `event.priceId` names; undefined when the ledger does not know it
 * @throws MalformedEvent
 */
export function attemptFromEvent(event: UsageEvent, price: Price | undefined): AttemptRow {
  const { principal, target } = event;
  const usage = event.usage ?? nothingReported;
  const outcome = outcomeWords[event.outcome];
  const usageSource = usageSourceWords[event.usageSource];
  if (!isUuid(event.attemptId)) throw new MalformedEvent("attempt_id");
  if (!principal) throw new MalformedEvent("principal");
  if (!target) throw new MalformedEvent("target");
  if (!outcome) throw new MalformedEvent("outcome");
  if (!usageSource) throw new MalformedEvent("usage_source");
  if (!countsAreWhole(usage)) throw new MalformedEvent("usage");
  if (!isWhole(event.providerStatus, int4Max)) throw new MalformedEvent("provider_status");
  const { firstTokenUs = null } = event;
  if (firstTokenUs !== null && (firstTokenUs < 0n || firstTokenUs > int8Max))
    throw new MalformedEvent("first_token_us");
  if (!isHoldStorable(event.hold)) throw new MalformedEvent("hold");
  const startTimeUs = microseconds(event.startTime, "start_time");
  const endTimeUs = microseconds(event.endTime, "end_time");
  const priced = event.priceId === "" ? unpriced : priceUsage(outcome, usage, price, event.hold?.chargeMaxNanoUsd);
  return {
    attemptId: event.attemptId.toLowerCase(),
    requestId: storable(event.requestId),
    tenant: storable(principal.tenant),
    key: storable(principal.key),
    endUser: storable(principal.user),
    alias: storable(event.alias),
    provider: storable(target.provider),
    model: storable(target.model),
    stream: event.stream,
    outcome,
    usageSource,
    usage,
    serverToolUses: toolUses(usage),
    tags: tagsOf(principal),
    serviceTier: usage.serviceTier === undefined ? null : storable(usage.serviceTier),
    usageInconsistent: billableTokens(usage).inconsistent,
    priceId: storable(event.priceId),
    chargeMaxNanoUsd: event.hold?.chargeMaxNanoUsd ?? null,
    ...priced,
    budgetCharge: budgetChargeOf(event.hold, priced),
    startTimeUs,
    // A clock that stepped back in between makes no negative durations.
    endTimeUs: Math.max(startTimeUs, endTimeUs),
    firstTokenUs,
    providerStatus: event.providerStatus,
    providerReplyId: storable(event.providerReplyId),
    contentDigest: digestOf(event),
  };
}

function isHoldStorable(hold: BudgetHold | undefined): boolean {
  const { leaseIds = [], chargeMaxNanoUsd = 0n } = hold ?? {};
  return [...leaseIds, chargeMaxNanoUsd].every((number) => number >= 0n && number <= int8Max);
}

/** A charge that is not known takes all that was set aside: budgets are held to the worst case. */
function budgetChargeOf(hold: BudgetHold | undefined, { chargeNanoUsd }: PricedUsage): BudgetCharge | undefined {
  if (hold === undefined || hold.leaseIds.length === 0) return undefined;
  return { leaseIds: hold.leaseIds, nanoUsd: chargeNanoUsd ?? hold.chargeMaxNanoUsd ?? 0n };
}

/** Whether Postgres reads a text as a UUID; stricter, in that only the usual form counts. */
export function isUuid(text: string): boolean {
  return uuidShape.test(text);
}

const uuidShape = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const int4Max = 2 ** 31 - 1;
const int8Max = 2n ** 63n - 1n;
const nothingReported = create(UsageSchema);

/** Words of the ledger for weir.metering.v1.AttemptOutcome. */
export const outcomeWords: Partial<Record<AttemptOutcome, Outcome>> = {
  [AttemptOutcome.COMPLETED]: "completed",
  [AttemptOutcome.CANCELLED]: "cancelled",
  [AttemptOutcome.FAILED]: "failed",
  [AttemptOutcome.TRUNCATED]: "truncated",
  [AttemptOutcome.LOST]: "lost",
  [AttemptOutcome.REJECTED]: "rejected",
};

const usageSourceWords: Partial<Record<UsageSource, string>> = {
  [UsageSource.REPORTED]: "reported",
  [UsageSource.COUNTED]: "counted",
  [UsageSource.ESTIMATED]: "estimated",
};

/** Always so for what came over a wire. */
function countsAreWhole(usage: Usage): boolean {
  const counts = [...Object.values(usage), ...Object.values(usage.serverToolUses)];
  return counts.every((count: unknown) => typeof count !== "number" || isWhole(count, 0xffff_ffff));
}

function isWhole(number: number, max: number): boolean {
  return Number.isInteger(number) && number >= 0 && number <= max;
}

const year2000Us = Date.UTC(2000, 0, 1) * 1000;
const year2200Us = Date.UTC(2200, 0, 1) * 1000;

function microseconds(time: Timestamp | undefined, field: string): number {
  if (!time) throw new MalformedEvent(field);
  const us = Number(time.seconds) * 1_000_000 + Math.floor(time.nanos / 1000);
  if (!(us >= year2000Us && us < year2200Us)) throw new MalformedEvent(field);
  return us;
}

/**
 * Some texts come from clients, who must not be able to keep their usage out of the ledger: what Postgres cannot hold
 * is replaced, and what is overlong is cut.
 */
function storable(text: string): string {
  if (text.length <= textLengthMax && !unstorable.test(text)) return text;
  return text.slice(0, textLengthMax).replaceAll("\0", "\ufffd").toWellFormed();
}

function toolUses(usage: Usage): string | null {
  const uses = Object.entries(usage.serverToolUses);
  return uses.length === 0
    ? null
    : JSON.stringify(Object.fromEntries(uses.map(([name, count]) => [storable(name), count])));
}

function tagsOf({ tags }: Principal): string | null {
  const entries = Object.entries(tags);
  return entries.length === 0
    ? null
    : JSON.stringify(Object.fromEntries(entries.map(([name, value]) => [storable(name), storable(value)])));
}

const textLengthMax = 512;
const unstorable = /\0|\p{Surrogate}/u;

/** Over everything that an event says, so that two events differ in digest when they differ in anything. */
function digestOf(event: UsageEvent): string {
  const { usage, principal, target, startTime, endTime } = event;
  const content = [
    event.attemptId.toLowerCase(),
    event.requestId,
    // Events without tags keep the digest that they had before there were any.
    principal && [principal.tenant, principal.key, principal.user, ...Object.entries(principal.tags).sort(byName)],
    event.alias,
    target && [target.provider, target.model],
    event.priceId,
    startTime && [String(startTime.seconds), startTime.nanos],
    endTime && [String(endTime.seconds), endTime.nanos],
    event.outcome,
    usage && [
      usage.inputTokens,
      usage.cachedInputTokens,
      usage.cacheWriteTokens,
      usage.cacheWriteLongTokens,
      usage.audioInputTokens,
      usage.imageInputTokens,
      usage.outputTokens,
      usage.reasoningTokens,
      usage.audioOutputTokens,
      usage.imageOutputTokens,
      usage.acceptedPredictionTokens,
      usage.rejectedPredictionTokens,
      Object.entries(usage.serverToolUses).sort(byName),
      // As with tags.
      ...(usage.serviceTier === undefined ? [] : [usage.serviceTier]),
    ],
    event.usageSource,
    event.providerReplyId,
    event.providerStatus,
    event.firstTokenUs === undefined ? null : String(event.firstTokenUs),
    event.stream,
    // As with tags.
    ...(event.hold === undefined ? [] : [event.hold.leaseIds.map(String), String(event.hold.chargeMaxNanoUsd)]),
  ];
  return hash("sha256", JSON.stringify(content)).slice(0, 32);
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
