import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { type Usage, UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import {
  AttemptOutcome,
  type BudgetHold,
  type UsageEvent,
  UsageEventSchema,
} from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Intent } from "./journal.ts";
import { type Cursor, payloadBytesMax } from "./record.ts";
import {
  beginMessage,
  endMessage,
  NumberOutOfRange,
  safe,
  writeBytesOf,
  writeEncoded,
  writeText,
  writeUint,
  writeUint32,
  writeVarint,
} from "./wire-bytes.ts";

// Payloads of records. The messages in them are protobuf, written by hand: once for each attempt on the request's path,
// where `toBinary` costs ten times as much (see README.md). The bytes are those that `toBinary` gives.

/** Thrown by writers when a payload does not fit in a record. */
export class PayloadTooLong extends Error {
  override readonly name = "PayloadTooLong";
}

/** Room for the fields of an event that are not text: two timestamps, the counts, numbers, tags and lengths. */
const fixedBytesMax = 512;

/** Most bytes that the payload of an intent may have. What a settlement adds to it fits in a record. */
export const intentBytesMax = 32_768;
/** The same of a progress: the two together are the event of a lost attempt. */
const progressBytesMax = payloadBytesMax - intentBytesMax;

export function writeIntent(cursor: Cursor, intent: Intent): void {
  const { reserved } = intent;
  const parties = encodedParties(intent);
  const textLength = intent.attemptId.length + intent.requestId.length;
  const listBytes = usageBytesMax(reserved) + holdBytesMax(intent.hold);
  if (textLength * 3 + fixedBytesMax + listBytes + parties.length > intentBytesMax) throw new PayloadTooLong();
  writeText(cursor, 0x0a, intent.attemptId);
  writeText(cursor, 0x12, intent.requestId);
  writeEncoded(cursor, parties);
  const seconds = safe(Math.floor(intent.startTimeMs / 1000));
  writeTime(cursor, 0x3a, seconds, Math.floor((intent.startTimeMs - seconds * 1000) * 1e6));
  writeUint(cursor, 0x48, AttemptOutcome.LOST);
  writeUsage(cursor, 0x52, reserved);
  writeUint(cursor, 0x58, UsageSource.ESTIMATED);
  if (intent.stream) writeUint(cursor, 0x78, 1);
  if (intent.hold !== undefined) writeHold(cursor, intent.hold);
}

/** What an intent counts as when nobody settled it. It fits in a record, also with a progress of a version that wrote longer ones. */
export function lostEventBytes(payload: Uint8Array, progress: Usage | undefined, foundTimeMs: number): Buffer {
  const event = lostEvent(payload, progress, foundTimeMs);
  const bytes = toBinary(UsageEventSchema, event);
  const fits = settlementHeadBytes + bytes.length <= payloadBytesMax;
  if (event.usage !== undefined && !fits) event.usage = plainUsage(event.usage);
  return Buffer.from(fits ? bytes : toBinary(UsageEventSchema, event));
}

/** Longer than the tier of any provider. */
const tierLengthMax = 64;

/** The counts of tokens and their tier, which always fit. */
export function plainUsage(usage: Usage): Usage {
  const plain = create(UsageSchema, { ...usage, serverToolUses: {} });
  if (plain.serviceTier !== undefined && plain.serviceTier.length > tierLengthMax) delete plain.serviceTier;
  return plain;
}

/** The same as a message. */
export function lostEvent(payload: Uint8Array, progress: Usage | undefined, foundTimeMs: number): UsageEvent {
  const event = fromBinary(UsageEventSchema, payload);
  event.endTime = timestampFromMs(Math.floor(foundTimeMs));
  if (progress) {
    event.usage = progress;
    uncap(event);
  }
  return event;
}

/** More was set aside for a stream that went on than its intent knew; its progress was within it. */
function uncap({ hold }: UsageEvent): void {
  delete hold?.chargeMaxNanoUsd;
}

/** The same, from what is still in memory. */
export function lostEventOf(intent: Intent, progress: Usage | undefined, foundTimeMs: number): UsageEvent {
  const event = create(UsageEventSchema, {
    attemptId: intent.attemptId,
    requestId: intent.requestId,
    principal: intent.principal,
    alias: intent.alias,
    target: intent.target,
    priceId: intent.priceId,
    startTime: timestampFromMs(Math.floor(intent.startTimeMs)),
    endTime: timestampFromMs(Math.floor(foundTimeMs)),
    outcome: AttemptOutcome.LOST,
    usage: progress ?? intent.reserved,
    usageSource: UsageSource.ESTIMATED,
    stream: intent.stream,
    ...(intent.hold === undefined ? {} : { hold: { ...intent.hold } }),
  });
  if (progress) uncap(event);
  return event;
}

export function writeProgress(cursor: Cursor, attemptId: string, usage: Usage): void {
  if (attemptId.length * 3 + fixedBytesMax + usageBytesMax(usage) > progressBytesMax) throw new PayloadTooLong();
  const lengthAt = cursor.at;
  cursor.at += 1;
  cursor.at += cursor.bytes.write(attemptId, cursor.at);
  cursor.bytes[lengthAt] = cursor.at - lengthAt - 1;
  writeUsageFields(cursor, usage);
}

export function readProgress(payload: Buffer): { attemptId: string; usage: Usage } {
  const end = 1 + (payload[0] as number);
  return { attemptId: payload.toString("utf8", 1, end), usage: fromBinary(UsageSchema, payload.subarray(end)) };
}

/** Bytes of a settlement's payload before its event. */
export const settlementHeadBytes = 8;

export function writeSettlement(cursor: Cursor, sequence: number, event: UsageEvent): void {
  writeSequence(cursor, sequence);
  writeEvent(cursor, event);
}

/** The same for an event that is encoded already. */
export function writeSettled(cursor: Cursor, sequence: number, event: Uint8Array): void {
  writeSequence(cursor, sequence);
  writeEncoded(cursor, event);
}

function writeSequence(cursor: Cursor, sequence: number): void {
  const { bytes, at } = cursor;
  bytes.writeUInt32LE(sequence >>> 0, at);
  bytes.writeUInt32LE(Math.floor(sequence / 0x1_0000_0000), at + 4);
  cursor.at = at + settlementHeadBytes;
}

/** Number of the event in a settlement's payload. */
export function settlementSequence(bytes: Buffer, start: number): number {
  return bytes.readUInt32LE(start) + bytes.readUInt32LE(start + 4) * 0x1_0000_0000;
}

export function readSettlement(payload: Uint8Array): UsageEvent {
  return fromBinary(UsageEventSchema, payload.subarray(settlementHeadBytes));
}

/** Attempt id of an encoded event, without decoding the rest: its first field. */
export function eventAttemptId(bytes: Buffer, start: number): string {
  const length = bytes[start + 1] as number;
  return bytes.toString("latin1", start + 2, start + 2 + length);
}

/** Writes a UsageEvent. @throws PayloadTooLong */
export function writeEvent(cursor: Cursor, event: UsageEvent): void {
  const { usage } = event;
  const parties = encodedParties(event);
  const textLength = event.attemptId.length + event.requestId.length + event.providerReplyId.length;
  const listBytes = (usage ? usageBytesMax(usage) : 0) + holdBytesMax(event.hold);
  if (textLength * 3 + fixedBytesMax + listBytes + parties.length > payloadBytesMax) throw new PayloadTooLong();
  writeText(cursor, 0x0a, event.attemptId);
  writeText(cursor, 0x12, event.requestId);
  writeEncoded(cursor, parties);
  if (event.startTime) writeTimestamp(cursor, 0x3a, event.startTime);
  if (event.endTime) writeTimestamp(cursor, 0x42, event.endTime);
  if (event.outcome !== 0) writeUint(cursor, 0x48, event.outcome);
  if (usage) writeUsage(cursor, 0x52, usage);
  if (event.usageSource !== 0) writeUint(cursor, 0x58, event.usageSource);
  writeText(cursor, 0x62, event.providerReplyId);
  if (event.providerStatus !== 0) writeUint32(cursor, 0x68, event.providerStatus);
  if (event.firstTokenUs !== undefined) writeUint(cursor, 0x70, safe(Number(event.firstTokenUs)));
  if (event.stream) writeUint(cursor, 0x78, 1);
  if (event.hold !== undefined) writeHold(cursor, event.hold);
}

/** Who calls, by which alias, where to, and at what price. */
interface Parties {
  readonly principal?: UsageEvent["principal"];
  readonly alias: string;
  readonly target?: UsageEvent["target"];
  readonly priceId: string;
}

/** Fields 3 to 6 of an event: those of the intent, of its settlement, and nearly always of the caller's next attempt. */
interface KnownParties {
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly priceId: string;
  readonly bytes: Uint8Array;
}

/** By principal, which nobody changes. */
const knownParties = new WeakMap<NonNullable<Parties["principal"]>, KnownParties>();
const partiesCursor: Cursor = { bytes: Buffer.allocUnsafeSlow(intentBytesMax), at: 0 };

/** @throws PayloadTooLong */
function encodedParties(parties: Parties): Uint8Array {
  const { principal, alias, target, priceId } = parties;
  if (principal === undefined || target === undefined) return encodeParties(parties);
  const { provider, model } = target;
  const known = knownParties.get(principal);
  const isSame =
    known?.alias === alias && known.priceId === priceId && known.model === model && known.provider === provider;
  if (isSame) return known.bytes;
  const bytes = encodeParties(parties);
  knownParties.set(principal, { alias, provider, model, priceId, bytes });
  return bytes;
}

function encodeParties({ principal, alias, target, priceId }: Parties): Uint8Array {
  const cursor = partiesCursor;
  cursor.at = 0;
  const textLength =
    (principal ? principalTextLength(principal) : 0) +
    alias.length +
    (target ? target.provider.length + target.model.length : 0) +
    priceId.length;
  const tagBytes = principal ? tagBytesMax(principal) : 0;
  if (textLength * 3 + fixedBytesMax + tagBytes > intentBytesMax) throw new PayloadTooLong();
  if (principal) writePrincipal(cursor, principal);
  writeText(cursor, 0x22, alias);
  if (target) writeTarget(cursor, target);
  writeText(cursor, 0x32, priceId);
  return new Uint8Array(cursor.bytes.subarray(0, cursor.at));
}

function writeHold(cursor: Cursor, { leaseIds, chargeMaxNanoUsd }: BudgetHold): void {
  // Field 20: its tag takes two bytes.
  cursor.bytes[cursor.at++] = 0xa2;
  const start = beginMessage(cursor, 0x01);
  if (leaseIds.length > 0) {
    const ids = beginMessage(cursor, 0x0a);
    for (const id of leaseIds) writeVarint(cursor, safe(Number(id)));
    endMessage(cursor, ids);
  }
  if (chargeMaxNanoUsd !== undefined) writeUint(cursor, 0x10, safe(Number(chargeMaxNanoUsd)));
  endMessage(cursor, start);
}

function holdBytesMax(hold: BudgetHold | undefined): number {
  return hold === undefined ? 0 : hold.leaseIds.length * 10 + 32;
}

function writePrincipal(cursor: Cursor, principal: NonNullable<UsageEvent["principal"]>): void {
  const start = beginMessage(cursor, 0x1a);
  writeText(cursor, 0x0a, principal.tenant);
  writeText(cursor, 0x12, principal.key);
  writeText(cursor, 0x1a, principal.user);
  for (const name in principal.tags) {
    const tag = beginMessage(cursor, 0x22);
    cursor.bytes[cursor.at++] = 0x0a;
    writeBytesOf(cursor, name);
    cursor.bytes[cursor.at++] = 0x12;
    writeBytesOf(cursor, principal.tags[name] as string);
    endMessage(cursor, tag);
  }
  if (principal.role !== Role.UNSPECIFIED) writeUint(cursor, 0x28, principal.role);
  if (principal.everyTenant) writeUint(cursor, 0x30, 1);
  writeText(cursor, 0x3a, principal.team);
  writeText(cursor, 0x42, principal.accountUser);
  if (principal.scoped) writeUint(cursor, 0x48, 1);
  if (principal.expireTime) writeTimestamp(cursor, 0x52, principal.expireTime);
  endMessage(cursor, start);
}

function principalTextLength({ tenant, key, user, team, accountUser }: NonNullable<UsageEvent["principal"]>): number {
  return tenant.length + key.length + user.length + team.length + accountUser.length;
}

function tagBytesMax({ tags }: NonNullable<UsageEvent["principal"]>): number {
  let bytes = 0;
  for (const name in tags) bytes += (name.length + (tags[name] as string).length) * 3 + 16;
  return bytes;
}

function writeTarget(cursor: Cursor, target: NonNullable<UsageEvent["target"]>): void {
  const start = beginMessage(cursor, 0x2a);
  writeText(cursor, 0x0a, target.provider);
  writeText(cursor, 0x12, target.model);
  endMessage(cursor, start);
}

function writeTimestamp(cursor: Cursor, tag: number, time: Timestamp): void {
  if (time.nanos >>> 0 !== time.nanos || time.nanos > 999_999_999) throw new NumberOutOfRange();
  writeTime(cursor, tag, safe(Number(time.seconds)), time.nanos);
}

/** @param seconds since 1970: no attempt began before */
function writeTime(cursor: Cursor, tag: number, seconds: number, nanos: number): void {
  const start = beginMessage(cursor, tag);
  if (seconds !== 0) writeUint(cursor, 0x08, seconds);
  if (nanos !== 0) writeUint(cursor, 0x10, nanos);
  endMessage(cursor, start);
}

function writeUsage(cursor: Cursor, tag: number, usage: Usage): void {
  const start = beginMessage(cursor, tag);
  writeUsageFields(cursor, usage);
  endMessage(cursor, start);
}

function writeUsageFields(cursor: Cursor, usage: Usage): void {
  writeCount(cursor, 0x08, usage.inputTokens);
  writeCount(cursor, 0x10, usage.cachedInputTokens);
  writeCount(cursor, 0x18, usage.cacheWriteTokens);
  writeCount(cursor, 0x20, usage.cacheWriteLongTokens);
  writeCount(cursor, 0x28, usage.audioInputTokens);
  writeCount(cursor, 0x30, usage.imageInputTokens);
  writeCount(cursor, 0x38, usage.outputTokens);
  writeCount(cursor, 0x40, usage.reasoningTokens);
  writeCount(cursor, 0x48, usage.audioOutputTokens);
  writeCount(cursor, 0x50, usage.imageOutputTokens);
  writeCount(cursor, 0x58, usage.acceptedPredictionTokens);
  writeCount(cursor, 0x60, usage.rejectedPredictionTokens);
  for (const name in usage.serverToolUses) {
    const start = beginMessage(cursor, 0x6a);
    cursor.bytes[cursor.at++] = 0x0a;
    writeBytesOf(cursor, name);
    writeUint32(cursor, 0x10, usage.serverToolUses[name] as number);
    endMessage(cursor, start);
  }
  if (usage.serviceTier !== undefined) {
    cursor.bytes[cursor.at++] = 0x72;
    writeBytesOf(cursor, usage.serviceTier);
  }
}

function usageBytesMax(usage: Usage): number {
  let bytes = (usage.serviceTier?.length ?? 0) * 3;
  for (const name in usage.serverToolUses) bytes += name.length * 3 + 16;
  return bytes;
}

function writeCount(cursor: Cursor, tag: number, count: number | undefined): void {
  if (count !== undefined) writeUint32(cursor, tag, count);
}
