import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { ProviderError } from "@weir/dialect/codec";
import { parseExact } from "@weir/dialect/json";
import { readError } from "@weir/dialect/openai/read-error";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { BatchHold, CallHead, Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Clock } from "@weir/kit/clock";
import { CallCancelled, type WeirError } from "@weir/kit/weir-error";
import type { Dispatcher } from "undici";
import type { AttemptEnd } from "../attempt-plan.ts";
import { closing } from "../attempt.ts";
import type { RecordedPlan } from "../attempt-record.ts";
import { type AttemptTimeouts, AttemptTimer } from "../attempt-timer.ts";
import { judgeStatus, rejected, timedOut, type Timer, truncated, unavailable } from "../classify.ts";
import { Exchange, type ExchangeSink } from "../exchange.ts";
import { joinHeaders } from "../join-headers.ts";
import { type Metered, unused } from "../usage-counts.ts";
import { AnswerBox } from "./answer-box.ts";
import { UsageWatch } from "./usage-watch.ts";

/** One forwarded call, ready to leave. */
export interface ForwardPlan extends RecordedPlan {
  readonly call: CallHead;
  /** Path and query as the provider has them. */
  readonly path: string;
  readonly place: Place;
  readonly timeouts: AttemptTimeouts;
  /** By the monotonic clock. */
  readonly startMs: number;
  /** What is set aside for the batch that it makes; undefined: nothing. */
  readonly batchHold: BatchHold | undefined;
  /** Undefined: there is none. */
  readonly body: Readable | undefined;
  /** Undefined: not known. */
  readonly bodyBytes: number | undefined;
}

/** What a forwarded call needs of its surroundings; see AttemptSurroundings. */
export interface ForwardSurroundings {
  readonly clock: Clock;
  readonly dispatcher: Dispatcher;
  readonly credentialHeaders: readonly string[];
  judgeCredential(failure: WeirError): WeirError;
  settled(end: AttemptEnd): void;
}

/** Bytes of an answer that may wait for the reader before the provider's connection is not read any more. */
const unreadBytesMax = 64 * 1024;
const refusalBytesMax = 256 * 1024;

/** Headers of a provider that its client may see. */
const answerHeaders: readonly string[] = ["content-disposition", "retry-after", "openai-processing-ms"];

/**
 * Runs one forwarded call: sends it, hands the answer on as it comes, and settles it exactly once. The intent must be on record
 * before `send`.
 */
export class ForwardAttempt implements ExchangeSink {
  readonly box: AnswerBox;
  private readonly plan: ForwardPlan;
  private readonly around: ForwardSurroundings;
  private readonly exchange: Exchange;
  private readonly timer: AttemptTimer;
  private readonly watch: UsageWatch;
  private sentMs: number | undefined;
  private firstMs: number | undefined;
  private status = 0;
  private headers: IncomingHttpHeaders = {};
  /** The body of an answer that is no success, until it is whole. */
  private refusal: Buffer[] = [];
  private refusalBytes = 0;
  private over = false;

  constructor(plan: ForwardPlan, around: ForwardSurroundings) {
    this.plan = plan;
    this.around = around;
    this.exchange = new Exchange(this);
    this.box = new AnswerBox(() => this.exchange.resume());
    this.watch = new UsageWatch(plan.call.endpoint);
    this.timer = new AttemptTimer(around.clock, plan.timeouts, plan.startMs, false, (timer) => this.expired(timer));
  }

  /** Sends the request, unless the attempt was cancelled before. */
  send(): void {
    if (this.over) return;
    const { provider, call, attemptId, body, bodyBytes } = this.plan;
    const { credentialHeaders, dispatcher, clock } = this.around;
    this.timer.start(clock.monotonic());
    const headers = joinHeaders(provider.headers, [
      ...(body === undefined ? [] : ["content-type", call.contentType]),
      "accept",
      "*/*",
      ...Object.entries(call.headers).flat(),
      ...credentialHeaders,
      "x-client-request-id",
      attemptId,
      ...(bodyBytes === undefined ? [] : ["content-length", String(bodyBytes)]),
    ]);
    this.exchange.start(dispatcher, {
      method: call.method,
      path: this.plan.path,
      headers,
      body: body ?? null,
    });
  }

  /** The caller has gone: hangs up in this very turn. */
  cancel(): void {
    if (!this.over) this.fail(new CallCancelled(), AttemptOutcome.CANCELLED);
  }

  /** The process ends. */
  giveUp(): void {
    if (!this.over) {
      this.fail(this.isAnswering ? truncated(this.plan.provider.id) : closing(), AttemptOutcome.CANCELLED);
    }
  }

  sending(): void {
    if (this.sentMs !== undefined) return;
    this.sentMs = this.around.clock.monotonic();
    this.timer.enter("waiting", this.sentMs);
  }

  head(status: number, headers: IncomingHttpHeaders): void {
    const nowMs = this.around.clock.monotonic();
    this.status = status;
    this.headers = headers;
    this.timer.enter("answering", nowMs);
    if (!isIdentity(headers["content-encoding"])) return this.failBefore("protocol");
    if (!this.isSuccess) return;
    this.firstMs = nowMs - (this.sentMs ?? nowMs);
    this.begin();
  }

  data(bytes: Buffer): void {
    this.timer.touch(this.around.clock.monotonic());
    if (this.isSuccess) {
      this.watch.push(bytes);
      this.box.data(bytes);
      if (this.box.bytes > unreadBytesMax) this.exchange.pause();
      return;
    }
    this.refusalBytes += bytes.length;
    this.refusal.push(bytes);
    if (this.refusalBytes <= refusalBytesMax) return;
    this.exchange.abort();
    this.refusal = [];
    this.endRefusal();
  }

  ended(): void {
    if (!this.isSuccess) {
      this.endRefusal();
      return;
    }
    const { usage } = this.settle(AttemptOutcome.COMPLETED, undefined);
    this.box.end(usage);
  }

  broke(error: Error): void {
    const { id } = this.plan.provider;
    if (this.sentMs === undefined && "code" in error && error.code === "UND_ERR_CONNECT_TIMEOUT") {
      this.fail(timedOut(id, "connect"), AttemptOutcome.FAILED);
    } else if (this.isAnswering) {
      this.fail(truncated(id), AttemptOutcome.TRUNCATED);
    } else if (this.status > 0) {
      this.endRefusal();
    } else {
      this.failBefore("connect");
    }
  }

  /** Whether the provider may have made what was asked for: it was sent to it, and it has refused nothing. */
  get mayHaveMade(): boolean {
    return this.sentMs !== undefined && (this.status === 0 || this.isSuccess);
  }

  private get isSuccess(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** Whether the caller has the answer's head. */
  private get isAnswering(): boolean {
    return this.firstMs !== undefined;
  }

  private begin(): void {
    const { place, target, call, batchHold } = this.plan;
    const headers: Record<string, string> = {};
    for (const name of answerHeaders) {
      const value = this.headers[name];
      if (typeof value === "string") headers[name] = value;
    }
    this.box.begin({
      $typeName: "weir.passthrough.v1.AnswerHead",
      status: this.status,
      contentType: oneText(this.headers["content-type"]),
      headers,
      place,
      model: call.alias === "" ? "" : target.model,
      ...(batchHold === undefined || !this.isSuccess ? {} : { batchHold }),
    });
  }

  /** The answer has another status; what is known of its body is all there is. */
  private endRefusal(): void {
    const { provider } = this.plan;
    const body = Buffer.concat(this.refusal);
    const error = readRefusal(body);
    const failure = judgeStatus(provider.id, this.status, this.headers, error, this.around.clock.now());
    if (failure !== undefined) {
      this.fail(this.around.judgeCredential(failure), AttemptOutcome.FAILED);
    } else if (error === undefined) {
      this.fail(rejected(provider.id, this.status), AttemptOutcome.REJECTED);
    } else {
      // The client's own fault, in the provider's own words.
      this.begin();
      this.box.data(body);
      this.settle(AttemptOutcome.REJECTED, undefined);
      this.box.end(undefined);
    }
  }

  private failBefore(cause: "connect" | "protocol"): void {
    this.fail(unavailable(this.plan.provider.id, cause), AttemptOutcome.FAILED);
  }

  private fail(failure: Error, outcome: AttemptOutcome): void {
    if (this.over) return;
    this.exchange.abort();
    this.settle(outcome, failure);
    this.box.fail(failure);
  }

  private expired(timer: Timer): void {
    if (timer === "idle" && this.box.bytes > 0) {
      this.timer.touch(this.around.clock.monotonic()); // not the provider is slow but the reader
      return;
    }
    const outcome = this.isAnswering ? AttemptOutcome.TRUNCATED : AttemptOutcome.FAILED;
    this.fail(timedOut(this.plan.provider.id, timer), outcome);
  }

  private settle(outcome: AttemptOutcome, failure: Error | undefined): { readonly usage: Usage | undefined } {
    const { clock, settled } = this.around;
    const metered = this.metered();
    this.over = true;
    this.timer.stop();
    this.plan.body?.destroy();
    settled.call(this.around, {
      ...metered,
      outcome,
      failure,
      status: this.status,
      replyId: oneText(this.headers["x-request-id"]).slice(0, replyIdMax),
      firstContentMs: this.firstMs,
      durationMs: clock.monotonic() - this.plan.startMs,
      drained: false,
      sound: true,
    });
    return { usage: this.watch.usage };
  }

  /** What the provider reported; else what the call asked for, where that is what is billed; else nothing is known. */
  private metered(): Metered {
    if (this.sentMs === undefined || (this.status > 0 && !this.isSuccess)) return unused;
    const { usage } = this.watch;
    if (usage !== undefined) return { usage, source: UsageSource.REPORTED };
    const serverToolUses = this.isSuccess ? { ...this.plan.call.units } : {};
    return { usage: { $typeName: "weir.common.v1.Usage", serverToolUses }, source: UsageSource.COUNTED };
  }
}

/** The error that a body reports; undefined when it is none of OpenAI's form. */
function readRefusal(body: Buffer): ProviderError | undefined {
  const json = parseExact(body.toString());
  return json === undefined ? undefined : readError(json);
}

const replyIdMax = 128;

function oneText(value: string | string[] | undefined): string {
  return typeof value === "string" ? value : "";
}

function isIdentity(encoding: string | string[] | undefined): boolean {
  return encoding === undefined || encoding === "" || encoding === "identity";
}
