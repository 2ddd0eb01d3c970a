import type { IncomingHttpHeaders } from "node:http";
import type { ProviderError, UsageReading } from "@weir/dialect/codec";
import { estimateInputTokens } from "@weir/dialect/wire-request";
import type { WireHead } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { StreamPath, WholeAnswer } from "./answers/answer-path.ts";
import { headOf } from "./attempt-head.ts";
import type { AttemptPlan, AttemptSurroundings } from "./attempt-plan.ts";
import { AttemptTimer } from "./attempt-timer.ts";
import {
  isRefusal,
  judgeError,
  judgeStatus,
  nameError,
  rejected,
  timedOut,
  type Timer,
  truncated,
  unavailable,
} from "./classify.ts";
import { Exchange, type ExchangeSink } from "./exchange.ts";
import { joinHeaders } from "./join-headers.ts";
import { Outbox } from "./outbox.ts";
import { fromReading, inDearerTier, type Metered, totals, unused } from "./usage-counts.ts";

/** Bytes of a stream that may wait for the reader before the provider's connection is not read any more; one read, or one event, beyond. */
const unreadBytesMax = 16 * 1024;
/** Bytes that a stream may send before any content. */
const heldBytesMax = 1024 * 1024;
const answerBytesMax = 32 * 1024 * 1024;
const refusalBytesMax = 256 * 1024;
/** How long an answer is read on after its caller has gone. */
const drainTimeoutMs = 120_000;

/**
 * Runs one call: sends it, reads the answer, and settles it exactly once, whatever happens. The intent must be on record
 * before `send`.
 */
export class Attempt implements ExchangeSink {
  private readonly plan: AttemptPlan;
  private readonly around: AttemptSurroundings;
  private readonly exchange: Exchange;
  private readonly timer: AttemptTimer;
  /** The answer, for the caller. */
  readonly outbox: Outbox;
  /** How the answer is read: not at all, as a stream, or whole. */
  private mode: "none" | "stream" | "whole" = "none";
  private sentMs: number | undefined;
  private status = 0;
  private headers: IncomingHttpHeaders = {};
  private reader: StreamPath | undefined;
  private body: Buffer[] = [];
  /** Of any answer, so far. */
  private bodyBytes = 0;
  private answer: WholeAnswer | undefined;
  private firstContentMs: number | undefined;
  private progressMs = 0;
  private inputTokens: number | undefined;
  /** The provider served nothing: it answered with an error, or what answered is no provider. */
  private unserved = false;
  private hungUp = false;
  private draining = false;
  private over = false;

  constructor(plan: AttemptPlan, around: AttemptSurroundings) {
    this.plan = plan;
    this.around = around;
    this.exchange = new Exchange(this);
    this.outbox = new Outbox(() => this.exchange.resume());
    this.timer = new AttemptTimer(around.clock, plan.timeouts, plan.startMs, plan.call.stream, (timer) =>
      this.expired(timer),
    );
  }

  /** Sends the request, unless the attempt was cancelled before. */
  send(): void {
    if (this.over) return;
    const { provider, call, attemptId } = this.plan;
    const { credentialHeaders } = this.around;
    this.timer.start(this.around.clock.monotonic());
    this.exchange.start(this.around.dispatcher, {
      method: "POST",
      path: call.path,
      headers: joinHeaders(provider.headers, [...call.headers, ...credentialHeaders, "x-client-request-id", attemptId]),
      body: call.body,
    });
  }

  /** The caller has gone: hangs up in this very turn, or reads on when the provider bills all the same. */
  cancel(): void {
    // Asked at the end of every call, too, and an error costs microseconds to make.
    if (!this.over) this.leave(new CallCancelled());
  }

  private leave(failure: Error): void {
    if (this.over || this.draining) return;
    if (this.sentMs !== undefined && !this.plan.provider.stopsOnDisconnect && this.around.admitDrain()) {
      this.draining = true;
      this.timer.endWithin(drainTimeoutMs);
      this.outbox.drop();
      this.outbox.fail(failure);
      this.exchange.resume();
    } else {
      this.fail(failure, AttemptOutcome.CANCELLED);
    }
  }

  /** The process ends: hangs up, whatever the provider makes of it. */
  giveUp(): void {
    const { id } = this.plan.provider;
    this.fail(this.reader?.facts.content ? truncated(id) : closing(), AttemptOutcome.CANCELLED);
  }

  // What the exchange tells.

  sending(): void {
    if (this.sentMs !== undefined) return;
    this.sentMs = this.progressMs = this.around.clock.monotonic();
    this.timer.enter("waiting", this.sentMs);
  }

  head(status: number, headers: IncomingHttpHeaders): void {
    this.status = status;
    this.headers = headers;
    const { stream, answers } = this.plan.call;
    const type = mediaType(headers["content-type"]);
    const ok = status >= 200 && status < 300;
    if (!isIdentity(headers["content-encoding"])) {
      this.failBefore("protocol");
    } else if (ok && stream && type === answers.streamType) {
      this.mode = "stream";
      this.reader = answers.openStream();
    } else if (ok && type !== "" && !type.endsWith("json")) {
      this.unserved = type !== answers.streamType; // a page of some proxy
      this.failBefore("protocol");
    } else {
      this.mode = "whole";
      if (!ok) this.unserved = true;
      const nowMs = this.around.clock.monotonic();
      if (ok && !stream) this.firstContentMs = nowMs - (this.sentMs ?? nowMs);
      this.timer.enter("answering", nowMs);
    }
  }

  data(bytes: Buffer): void {
    this.bodyBytes += bytes.length;
    if (this.reader !== undefined) this.readStream(this.reader, bytes);
    else if (this.mode === "whole") this.collect(bytes);
  }

  ended(): void {
    const { reader } = this;
    if (reader === undefined) {
      if (this.unserved) this.endRefusal();
      else this.endWhole();
      return;
    }
    this.readStream(reader, undefined);
    if (this.over) return;
    if (reader.facts.content) this.fail(truncated(this.plan.provider.id), AttemptOutcome.TRUNCATED);
    else {
      this.unserved = this.bodyBytes === 0;
      this.failBefore("protocol");
    }
  }

  broke(error: Error): void {
    const { id } = this.plan.provider;
    if (this.sentMs === undefined && "code" in error && error.code === "UND_ERR_CONNECT_TIMEOUT") {
      this.fail(timedOut(id, "connect"), AttemptOutcome.FAILED);
    } else if (this.reader?.facts.content) {
      this.fail(truncated(id), AttemptOutcome.TRUNCATED);
    } else if (this.mode === "whole" && this.unserved) {
      this.endRefusal();
    } else {
      this.failBefore("connect");
    }
  }

  // Streams.

  /** @param bytes what came; undefined at the end */
  private readStream(reader: StreamPath, bytes: Buffer | undefined): void {
    const before = reader.contentEvents();
    const forward = bytes === undefined ? reader.end() : reader.push(bytes);
    if (forward !== undefined && !this.draining) this.outbox.push(forward);
    const { complete, content, fault } = reader.facts;
    if (reader.contentEvents() !== before) this.gotContent();
    if (content) this.outbox.release();
    if (complete) this.complete();
    else if (fault !== undefined) this.endFault(reader);
    else if (!this.isCovered(reader)) this.leave(budgetSpent());
    else if (this.outbox.bytes > (content ? unreadBytesMax : heldBytesMax)) {
      if (content) this.exchange.pause();
      else this.failBefore("protocol");
    }
  }

  private gotContent(): void {
    const nowMs = this.around.clock.monotonic();
    if (this.firstContentMs === undefined) {
      this.firstContentMs = nowMs - (this.sentMs ?? nowMs);
      this.outbox.begin(this.wireHead(this.plan.call.answers.contentTypes.stream));
      this.timer.enter("answering", nowMs);
    } else this.timer.touch(nowMs);
    if (nowMs - this.progressMs >= this.around.progressIntervalMs) {
      this.progressMs = nowMs;
      this.around.progress(this.metered().usage);
    }
  }

  /** Whether what budgets set aside covers what came; more is set aside ahead of need. */
  private isCovered(reader: StreamPath): boolean {
    const { hold } = this.plan;
    return hold === undefined || this.draining || hold.covers(reader.outputTokens());
  }

  /** The stream cannot go on: it reported an error, or cannot be read. */
  private endFault({ facts: { content, fault } }: StreamPath): void {
    const { id } = this.plan.provider;
    if (content) this.fail(truncated(id), AttemptOutcome.TRUNCATED);
    else if (fault?.kind === "error") this.endError(fault.error);
    else this.failBefore("protocol");
  }

  // Answers that are read whole.

  private collect(bytes: Buffer): void {
    this.body.push(bytes);
    this.timer.touch(this.around.clock.monotonic());
    if (this.bodyBytes <= (this.unserved ? refusalBytesMax : answerBytesMax)) return;
    this.hungUp = this.exchange.abort();
    this.body = [];
    if (this.unserved) this.endRefusal();
    else this.failBefore("protocol");
  }

  private wholeBody(): Buffer {
    return this.body.length === 1 ? (this.body[0] ?? noBytes) : Buffer.concat(this.body);
  }

  /** A body with a good status. */
  private endWhole(): void {
    const { answers, stream } = this.plan.call;
    const body = this.wholeBody();
    this.answer = answers.readWhole(body);
    if (this.answer.kind === "error") {
      this.endError(this.answer.error);
    } else if (this.answer.kind === "malformed" || stream) {
      this.unserved = body.length === 0;
      this.failBefore("protocol");
    } else {
      this.outbox.begin(this.wireHead(answers.contentTypes.whole));
      this.outbox.push(this.answer.piece);
      this.complete();
    }
  }

  /** A body with another status, as far as it came. */
  private endRefusal(): void {
    const { provider } = this.plan;
    const body = this.wholeBody();
    const answer = this.plan.call.answers.readWhole(body);
    const error = nameError(answer.kind === "error" ? answer.error : undefined, this.headers);
    const status = provider.statusFor?.(this.status, error) ?? this.status;
    const failure = judgeStatus(provider.id, status, this.headers, error, this.around.clock.now());
    if (failure !== undefined) {
      this.fail(this.around.judgeCredential(failure), AttemptOutcome.FAILED);
      return;
    }
    const tooLong = error?.code === contextTooLong;
    const goesOn = tooLong && this.plan.hasLargerTarget;
    if (answer.kind === "error" && answer.piece !== undefined && status === this.status && !goesOn) {
      // The client's own fault, in the provider's own words.
      this.outbox.begin(this.wireHead(this.plan.call.answers.contentTypes.whole));
      this.outbox.push(answer.piece);
      this.settle(AttemptOutcome.REJECTED, undefined);
      this.outbox.end({ $typeName: "weir.chat.v1.WireTail", usage: unused.usage, usageSource: unused.source });
    } else {
      const refusal = tooLong ? new WeirError(ErrorReason.CONTEXT_TOO_LONG) : rejected(provider.id, status, error);
      this.fail(refusal, AttemptOutcome.REJECTED);
    }
  }

  // Ends.

  private complete(): void {
    const { usage, source } = this.settle(AttemptOutcome.COMPLETED, undefined);
    if (this.firstContentMs === undefined) this.outbox.begin(this.wireHead(this.plan.call.answers.contentTypes.stream));
    this.exchange.leave(this.around.clock);
    this.outbox.end({ $typeName: "weir.chat.v1.WireTail", usage, usageSource: source });
  }

  /** The provider reported an error under a good status, before any content. */
  private endError(error: ProviderError): void {
    this.unserved = true;
    const { id, statusFor } = this.plan.provider;
    const status = statusFor?.(this.status, error);
    const failure = judgeError(id, status === undefined ? error : { ...error, status });
    const outcome = isRefusal(failure) ? AttemptOutcome.REJECTED : AttemptOutcome.FAILED;
    this.fail(this.around.judgeCredential(failure), outcome);
  }

  private failBefore(cause: "connect" | "protocol"): void {
    this.fail(unavailable(this.plan.provider.id, cause), AttemptOutcome.FAILED);
  }

  private fail(failure: Error, outcome: AttemptOutcome): void {
    if (this.over) return;
    this.hungUp ||= this.exchange.abort();
    this.settle(outcome, failure);
    this.outbox.fail(failure);
  }

  private expired(timer: Timer): void {
    if (timer === "idle" && this.outbox.bytes > 0) {
      this.timer.touch(this.around.clock.monotonic()); // not the provider is slow but the reader
      return;
    }
    const outcome = this.reader?.facts.content ? AttemptOutcome.TRUNCATED : AttemptOutcome.FAILED;
    this.fail(timedOut(this.plan.provider.id, timer), outcome);
  }

  private settle(outcome: AttemptOutcome, failure: Error | undefined): Metered {
    const metered = this.metered();
    this.over = true;
    this.timer.stop();
    this.around.settled({
      ...metered,
      outcome: this.draining ? AttemptOutcome.CANCELLED : outcome,
      failure,
      status: this.status,
      replyId: this.reader?.facts.replyId ?? (this.answer?.kind === "answer" ? this.answer.replyId : ""),
      firstContentMs: this.firstContentMs,
      durationMs: this.around.clock.monotonic() - this.plan.startMs,
      drained: this.draining,
      sound: this.reading()?.sound ?? true,
    });
    return metered;
  }

  /** What the attempt used, as far as is known now. */
  private metered(): Metered {
    if (this.sentMs === undefined) return unused;
    const reading = this.reading();
    const { askedTier, reserved } = this.plan;
    if (reading !== undefined) return fromReading(reading, () => this.counted(), askedTier);
    if (this.unserved) return unused;
    const counted = () => inDearerTier(this.counted(), askedTier);
    if (!this.isUnknown()) return { usage: counted(), source: UsageSource.COUNTED };
    // Work that stopped when we hung up, before its first byte: nobody knows how far it had come.
    const stopped = this.mode === "none" && this.hungUp && this.plan.provider.stopsOnDisconnect;
    const usage = this.reader?.facts.content || stopped ? counted() : reserved;
    return { usage, source: UsageSource.ESTIMATED };
  }

  /** Whether the provider did, and will bill, more than came through here. */
  private isUnknown(): boolean {
    // What is no stream is made before its first byte is sent.
    if (this.mode === "whole") return this.answer?.kind !== "answer";
    return this.hungUp && this.plan.call.stream ? !this.plan.provider.stopsOnDisconnect : !this.plan.call.stream;
  }

  private reading(): UsageReading | undefined {
    return this.reader?.facts.usage ?? (this.answer?.kind === "answer" ? this.answer.usage : undefined);
  }

  private counted(): Usage {
    const { requestBody: body } = this.plan;
    this.inputTokens ??= estimateInputTokens(Buffer.from(body.buffer, body.byteOffset, body.byteLength));
    const answered = this.answer?.kind === "answer" ? this.answer.outputTokens : 0;
    return totals(this.inputTokens, this.reader?.outputTokens() ?? answered);
  }

  private wireHead(contentType: string): WireHead {
    return headOf(this.plan, this.status, contentType, this.headers);
  }
}

/** How every codec reads that a conversation does not fit its model. */
const contextTooLong = "context_length_exceeded";

/** The answer to a call that a pool on its way out cannot serve: another one can. */
export function closing(): WeirError {
  return new WeirError(ErrorReason.OVERLOADED, { text: "This pool is closing.", retryAfterMs: 1_000 });
}

function budgetSpent(): WeirError {
  return new WeirError(ErrorReason.BUDGET_EXHAUSTED, {
    text: "The budget for this call ran out while it was answered.",
  });
}

const noBytes = Buffer.alloc(0);

function mediaType(header: string | string[] | undefined): string {
  const text = typeof header === "string" ? header : "";
  const end = text.indexOf(";");
  return (end < 0 ? text : text.slice(0, end)).trim().toLowerCase();
}

function isIdentity(encoding: string | string[] | undefined): boolean {
  return encoding === undefined || encoding === "" || encoding === "identity";
}
