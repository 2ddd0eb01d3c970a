import type { Span } from "@opentelemetry/api";
import type { GenerateRequest, GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type {
  AttemptService,
  RunAttemptRequest,
  RunAttemptResponse,
} from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { Client, Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Reason } from "@weir/kit/error-table";
import type { Log } from "@weir/kit/log";
import { type ReplySource, ReplyStream } from "@weir/kit/reply-stream";
import { endSpan } from "@weir/kit/telemetry/trace-context";
import { asError, CallCancelled, reasonWord, toWeirError, WeirError } from "@weir/kit/weir-error";
import { backoffMs, judge, mostUseful, type RetryBudget, spreadMs, type Verdict } from "./attempts.ts";
import type { CallReport, Health } from "./health.ts";
import type { RouterMetrics } from "./metrics.ts";
import type { Plan } from "./plan.ts";
import { type Candidate, choose, mayTakeMore, type Ranking } from "./policy.ts";
import { type RetrySettings, type RouteTarget, timeoutsMessage } from "./snapshot.ts";

/** What all calls of a router share. */
export interface GenerateDeps {
  readonly attempts: Client<typeof AttemptService>;
  readonly health: Health;
  readonly budget: RetryBudget;
  readonly ranking: Ranking;
  readonly waiters: Waiters;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly newAttemptId: () => string;
  readonly metrics: RouterMetrics;
  readonly log: Log;
}

/** How many requests wait for a target that asked for a pause. */
export interface Waiters {
  count: number;
  readonly max: number;
}

/** What one call is about. */
export interface GenerateJob {
  readonly plan: Plan;
  readonly retry: RetrySettings;
  readonly request: GenerateRequest;
  readonly requestId: string;
  /** Goes down with each attempt. */
  readonly metadata: Metadata;
  /** What is left of the caller's time, in milliseconds; undefined: no deadline. */
  readonly leftMs: () => number | undefined;
  readonly span: Span | undefined;
}

/** An attempt is not begun with less time than this. */
const usefulMs = 10;

/** How much longer than an attempt's total timer its call may take: a pool that is late by more is given up. */
const poolGraceMs = 1_000;

/** How an answer may fail once it has begun; whatever else happens then has broken it off. */
const midAnswerReasons: ReadonlySet<Reason> = new Set([
  ErrorReason.STREAM_TRUNCATED,
  ErrorReason.PROVIDER_TIMEOUT,
  ErrorReason.DEADLINE_EXCEEDED,
  ErrorReason.BUDGET_EXHAUSTED,
  ErrorReason.INTERNAL,
]);

/** An attempt that is under way. */
interface Attempt {
  readonly id: string;
  readonly target: RouteTarget;
  readonly stream: ReplyStream<RunAttemptResponse>;
  readonly report: CallReport;
  /** What was left of the caller's time when it began. */
  readonly leftMs: number | undefined;
}

/**
 * One request: attempts until a target gives content, then that target's messages, each handed on as soon as it is asked for.
 * A caller who leaves stops the provider at once, also while an attempt is awaited.
 */
export class GenerateCall implements ReplySource<GenerateResponse> {
  /** What the caller gets. */
  readonly stream = new ReplyStream<GenerateResponse>(this);
  private readonly deps: GenerateDeps;
  private readonly job: GenerateJob;
  private state: "opening" | "open" | "over" = "opening";
  /** The first message, until it is taken. */
  private first: GenerateResponse | undefined;
  /** The attempt under way. */
  private attempt: Attempt | undefined;
  private lastTarget: RouteTarget | undefined;
  private attemptCount = 0;
  /** Whether the answer's last piece has come. */
  private whole = false;
  /** Whether the target answered by refusing the request. */
  private refused = false;
  /** Time spent waiting for providers that asked for a pause. */
  private waitedMs = 0;
  private wake: (() => void) | undefined;

  constructor(deps: GenerateDeps, job: GenerateJob) {
    this.deps = deps;
    this.job = job;
  }

  begin(): void {
    this.open().then(
      () => this.stream.ready(),
      (thrown: unknown) => this.stream.fail(asError(thrown)),
    );
  }

  poll(): GenerateResponse | undefined {
    const { first, attempt } = this;
    if (first !== undefined) {
      this.first = undefined;
      return first;
    }
    if (this.state !== "open" || attempt === undefined) return undefined;
    let message: RunAttemptResponse | undefined;
    try {
      message = attempt.stream.poll();
    } catch (thrown) {
      this.broke(attempt, thrown);
      return undefined;
    }
    if (message !== undefined) return this.handOn(message);
    if (attempt.stream.ended) this.finish();
    return undefined;
  }

  hangUp(): void {
    if (this.state === "over") return;
    this.state = "over";
    this.wake?.();
    this.endSpan(new CallCancelled());
    const { attempt } = this;
    if (attempt === undefined) return;
    attempt.report.abandoned();
    this.deps.metrics.attempt(attempt.target.provider, "cancelled");
    void attempt.stream.return();
  }

  /** The attempt has ended well, or so it says. */
  private finish(): void {
    if (!this.whole) throw this.fail(this.truncated());
    this.succeed();
    this.stream.end();
  }

  /** The attempt failed after its first message: the caller has content, so this is the end. */
  private broke(attempt: Attempt, thrown: unknown): void {
    if (this.whole) {
      this.finish();
      return;
    }
    const error = this.readError(thrown, attempt);
    throw this.fail(midAnswerReasons.has(error.reason) ? error : this.truncated(error), error);
  }

  /** What an attempt threw. A deadline that was not the caller's is the pool's, which did not end the attempt in time. */
  private readError(thrown: unknown, attempt: Attempt): WeirError {
    const error = toWeirError(thrown);
    if (error.reason !== ErrorReason.DEADLINE_EXCEEDED) return error;
    const { leftMs, target } = attempt;
    if (leftMs !== undefined && leftMs <= this.job.plan.route.timeouts.totalMs + poolGraceMs) return error;
    return new WeirError(ErrorReason.PROVIDER_TIMEOUT, {
      metadata: { provider: target.provider, timer: "total" },
      cause: error,
    });
  }

  /** The payload object itself moves: no copy, no look inside but for the tail. */
  private handOn({ payload }: RunAttemptResponse): GenerateResponse {
    if (payload.case === "wire" ? payload.value.tail !== undefined : payload.value?.kind.case === "end")
      this.whole = true;
    return { $typeName: "weir.chat.v1.GenerateResponse", payload };
  }

  private truncated(cause?: WeirError): WeirError {
    const provider = this.lastTarget?.provider;
    return new WeirError(ErrorReason.STREAM_TRUNCATED, {
      ...(provider === undefined ? {} : { metadata: { provider } }),
      cause,
    });
  }

  private succeed(): void {
    this.state = "over";
    const { attempt } = this;
    if (attempt !== undefined) {
      if (this.refused) attempt.report.refused();
      else attempt.report.succeeded();
      this.deps.metrics.attempt(attempt.target.provider, this.refused ? "refused" : "ok");
    }
    this.endSpan();
  }

  private async open(): Promise<void> {
    try {
      const first = await this.firstMessage();
      if (this.isOver()) throw new CallCancelled();
      this.first = first;
      this.state = "open";
    } catch (thrown) {
      if (this.isOver()) throw new CallCancelled();
      this.state = "over";
      this.endSpan(thrown);
      throw thrown;
    }
  }

  /** Makes attempts until one gives content. */
  private async firstMessage(): Promise<GenerateResponse> {
    const { deps } = this;
    const { route, targets } = this.job.plan;
    const histories = targets.map((): History => ({ tries: 0, pauseMs: 0, excluded: false }));
    const failures: WeirError[] = [];
    let cleared = true; // The first attempt takes nothing from the retry budget.
    deps.budget.request();
    for (;;) {
      const candidates = this.candidates(histories);
      if (candidates.length === 0 || this.attemptCount >= route.attemptsMax) throw mostUseful(failures);
      const choice = choose(candidates, deps.ranking);
      if (choice.kind === "wait") {
        await this.pause(choice.waitMs, [...failures, this.cooling(choice.waitMs)]);
        continue;
      }
      const { target, position, tries } = choice.candidate;
      const history = histories[position] as History;
      if (!cleared) {
        cleared = true;
        if (!deps.budget.takeRetry()) {
          deps.metrics.retryDenied();
          throw mostUseful(failures);
        }
        if (tries > 0) {
          if (history.pauseMs > 0) await this.pause(history.pauseMs, failures);
          else await this.rest(backoffMs(tries, deps.random()), failures);
          continue; // Other calls have gone on meanwhile: choose again.
        }
      }
      const { first, error, verdict } = await this.tryTarget(target, histories, failures);
      if (first !== undefined) return first;
      if (verdict.next === "nowhere") throw error;
      if (error.reason === ErrorReason.CONTEXT_TOO_LONG) {
        if (!this.hasLarger(target, histories)) throw error;
        this.excludeSmaller(target, histories);
      }
      failures.push(error);
      history.tries += 1;
      // A rate limit's pause is the circuit's business, since it holds for every request.
      history.pauseMs = verdict.health === "nothing" ? (error.retryAfterMs ?? 0) : 0;
      history.excluded = verdict.next === "elsewhere";
      cleared = false;
    }
  }

  private candidates(histories: readonly History[]): Candidate[] {
    const candidates: Candidate[] = [];
    let position = 0;
    for (const target of this.job.plan.targets) {
      const { tries, excluded } = histories[position] as History;
      if (!excluded) candidates.push({ target, position, tries, standing: this.deps.health.standing(target) });
      position += 1;
    }
    return candidates;
  }

  /** Whether another target that may still be called may take what is too long for this one. */
  private hasLarger(target: RouteTarget, histories: readonly History[]): boolean {
    const { targets } = this.job.plan;
    if (targets.length === 1) return false;
    return targets.some((other, position) => histories[position]?.excluded === false && mayTakeMore(other, target));
  }

  private excludeSmaller(target: RouteTarget, histories: readonly History[]): void {
    for (const [position, other] of this.job.plan.targets.entries()) {
      if (!mayTakeMore(other, target)) (histories[position] as History).excluded = true;
    }
  }

  /** Makes one attempt, up to its first message. */
  private async tryTarget(
    target: RouteTarget,
    histories: readonly History[],
    failures: readonly WeirError[],
  ): Promise<AttemptOutcome> {
    const { deps, job } = this;
    const leftMs = job.leftMs();
    if (leftMs !== undefined && leftMs < usefulMs) throw outOfTime(failures);
    if (this.lastTarget !== undefined && this.lastTarget !== target) deps.metrics.fallback(target.provider);
    this.lastTarget = target;
    this.attemptCount += 1;
    const id = deps.newAttemptId();
    const limitMs = job.plan.route.timeouts.totalMs + poolGraceMs;
    const hasLargerTarget = this.attemptCount < job.plan.route.attemptsMax && this.hasLarger(target, histories);
    const stream = deps.attempts.runAttempt(this.attemptRequest(id, target, leftMs, hasLargerTarget), {
      metadata: job.metadata,
      timeoutMs: leftMs === undefined ? limitMs : Math.min(leftMs, limitMs),
    });
    const attempt: Attempt = { id, target, stream, report: deps.health.begin(target), leftMs };
    this.attempt = attempt;
    try {
      const result = await stream.next();
      if (this.isOver()) throw new CallCancelled();
      if (result.done === true) throw emptyAnswer(target);
      attempt.report.began();
      const head = result.value.payload.case === "wire" ? result.value.payload.value.head : undefined;
      if (head !== undefined) {
        head.attempts = this.attemptCount;
        this.refused = head.status >= 400;
      }
      stream.onReady = () => this.stream.ready();
      return { first: this.handOn(result.value) };
    } catch (thrown) {
      if (this.isOver()) throw new CallCancelled();
      const error = this.readError(thrown, attempt);
      return { first: undefined, error, verdict: this.settle(attempt, error) };
    }
  }

  private attemptRequest(
    attemptId: string,
    target: RouteTarget,
    leftMs: number | undefined,
    hasLargerTarget: boolean,
  ): RunAttemptRequest {
    const { plan, request, requestId } = this.job;
    const { route, alias } = plan;
    return {
      $typeName: "weir.routing.v1.RunAttemptRequest",
      attemptId,
      requestId,
      alias,
      target: target.message,
      timeouts:
        leftMs === undefined || leftMs >= route.timeouts.totalMs
          ? route.timeoutsMessage
          : timeoutsMessage(route.timeouts, leftMs),
      request,
      allowUnpriced: route.allowUnpriced,
      hasLargerTarget,
    };
  }

  /**
   * Waits as long as a target asked for, unless that is too long or too many wait already.
   * @param failures what the caller is told instead
   */
  private async pause(waitMs: number, failures: readonly WeirError[]): Promise<void> {
    const { waiters, random } = this.deps;
    this.waitedMs += waitMs;
    if (this.waitedMs > this.job.retry.retryAfterMaxMs || waiters.count >= waiters.max) throw mostUseful(failures);
    waiters.count += 1;
    try {
      await this.rest(spreadMs(waitMs, random()), failures);
    } finally {
      waiters.count -= 1;
    }
  }

  /** What a caller is told when every target was asked to be left alone. */
  private cooling(waitMs: number): WeirError {
    const { provider } = this.lastTarget ?? this.job.plan.targets[0] ?? {};
    return new WeirError(ErrorReason.PROVIDER_RATE_LIMITED, {
      retryAfterMs: waitMs,
      ...(provider === undefined ? {} : { metadata: { provider } }),
    });
  }

  /** Lets time pass; ends early when the caller leaves. */
  private async rest(ms: number, failures: readonly WeirError[]): Promise<void> {
    const leftMs = this.job.leftMs();
    if (leftMs !== undefined && leftMs < ms + usefulMs) throw outOfTime(failures);
    await new Promise<void>((resolve) => {
      const cancelTimer = this.deps.clock.after(ms, resolve);
      this.wake = () => {
        cancelTimer();
        resolve();
      };
    });
    this.wake = undefined;
    if (this.isOver()) throw new CallCancelled();
  }

  /** Ends a call that had begun to answer, with the error for its caller. */
  private fail(shown: WeirError, error: WeirError = shown): WeirError {
    const { attempt } = this;
    this.state = "over";
    if (attempt !== undefined) this.settle(attempt, error);
    this.endSpan(shown);
    return shown;
  }

  /** Tells circuit, metrics and log how an attempt failed. */
  private settle(attempt: Attempt, error: WeirError): Verdict {
    const { report, target, leftMs } = attempt;
    this.attempt = undefined;
    const verdict = judge(error, this.job.plan.route.timeouts, leftMs);
    if (verdict.health === "nothing") report.abandoned();
    else if (verdict.health === "refused") report.refused();
    else report.failed(verdict.health, error.retryAfterMs);
    this.deps.metrics.attempt(target.provider, error);
    this.deps.log.debug(
      {
        request_id: this.job.requestId,
        attempt_id: attempt.id,
        provider: target.provider,
        reason: reasonWord(error.reason),
      },
      "attempt failed",
    );
    return verdict;
  }

  private endSpan(failure?: unknown): void {
    if (this.job.span === undefined) return;
    const { alias, route } = this.job.plan;
    endSpan(
      this.job.span,
      {
        "weir.alias": alias,
        "weir.route": route.alias,
        "weir.attempts": this.attemptCount,
        ...(this.lastTarget && {
          "gen_ai.provider.name": this.lastTarget.provider,
          "gen_ai.request.model": this.lastTarget.model,
        }),
      },
      failure,
    );
  }

  /** A way to ask that outlives what the compiler knows: `return` runs between any two awaits. */
  private isOver(): boolean {
    return this.state === "over";
  }
}

/** What a request has learnt about one of its targets. */
interface History {
  tries: number;
  /** How long the pool asked to wait before it is called for this target again. */
  pauseMs: number;
  excluded: boolean;
}

type AttemptOutcome =
  | { readonly first: GenerateResponse; readonly error?: undefined; readonly verdict?: undefined }
  | { readonly first: undefined; readonly error: WeirError; readonly verdict: Verdict };

function outOfTime(failures: readonly WeirError[]): WeirError {
  return failures.length > 0 ? mostUseful(failures) : new WeirError(ErrorReason.DEADLINE_EXCEEDED);
}

function emptyAnswer(target: RouteTarget): WeirError {
  return new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, {
    metadata: { provider: target.provider, cause: "protocol" },
  });
}
