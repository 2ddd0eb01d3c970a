import type { HandlerContext } from "@connectrpc/connect";
import type { CallHead, CallPiece } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type {
  ForwardAttemptRequest,
  ForwardAttemptResponse,
  ForwardAttemptService,
} from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { ForwardRequest, ForwardResponse } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Client, Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { type ReplySource, ReplyStream } from "@weir/kit/reply-stream";
import { asError, CallCancelled, toWeirError, WeirError } from "@weir/kit/weir-error";
import { judge, mostUseful, type RetryBudget } from "../attempts.ts";
import type { CallReport, Health } from "../health.ts";
import type { RouterMetrics } from "../metrics.ts";
import type { Plan } from "../plan.ts";
import { choose, type Ranking } from "../policy.ts";
import { type RoutingSnapshot, type RouteTarget, timeoutsMessage } from "../snapshot.ts";
import { planForward } from "./forward-plan.ts";

export interface ForwardDeps {
  readonly forwards: Client<typeof ForwardAttemptService>;
  readonly routing: () => RoutingSnapshot;
  readonly health: Health;
  readonly budget: RetryBudget;
  readonly ranking: Ranking;
  readonly clock: Clock;
  readonly newAttemptId: () => string;
  readonly metrics: RouterMetrics;
}

/** What one call is about, beside its messages. */
export interface ForwardJob {
  readonly requests: ReplyStream<ForwardRequest>;
  readonly requestId: string;
  readonly metadata: Metadata;
  readonly context: Pick<HandlerContext, "timeoutMs">;
}

/** A body of at most so many bytes is kept, so that another target can be tried with it. */
const replayBytesMax = 1_048_576;
/** How much longer than an attempt's total timer its call may take. */
const poolGraceMs = 1_000;
/** A session of Realtime lasts at most an hour: https://platform.openai.com/docs/guides/realtime-conversations */
const sessionMs = 3_900_000;

interface Attempt {
  readonly target: RouteTarget;
  readonly stream: ReplyStream<ForwardAttemptResponse>;
  readonly report: CallReport;
}

/**
 * One call that passes through: attempts until a target answers, then that target's messages. A call is tried at another target only
 * when its body is there to be sent again, and nothing of an answer has come.
 */
export class ForwardCall implements ReplySource<ForwardResponse> {
  /** What the caller gets. */
  readonly stream = new ReplyStream<ForwardResponse>(this);
  private readonly deps: ForwardDeps;
  private readonly job: ForwardJob;
  private attempt: Attempt | undefined;
  private first: ForwardResponse | undefined;
  private open = false;
  private whole = false;
  private refused = false;
  private over = false;

  constructor(deps: ForwardDeps, job: ForwardJob) {
    this.deps = deps;
    this.job = job;
  }

  begin(): void {
    this.run().then(
      () => this.stream.ready(),
      (thrown: unknown) => this.stream.fail(asError(thrown)),
    );
  }

  poll(): ForwardResponse | undefined {
    const { first, attempt } = this;
    this.first = undefined;
    if (first !== undefined) return first;
    if (!this.open || attempt === undefined) return undefined;
    let message: ForwardAttemptResponse | undefined;
    try {
      message = attempt.stream.poll();
    } catch (thrown) {
      throw this.broke(attempt, toWeirError(thrown));
    }
    if (message !== undefined) return this.handOn(message);
    if (attempt.stream.ended) this.finish(attempt);
    return undefined;
  }

  hangUp(): void {
    if (this.over) return;
    this.over = true;
    const { attempt } = this;
    if (attempt === undefined) return;
    attempt.report.abandoned();
    this.deps.metrics.attempt(attempt.target.provider, "cancelled");
    void attempt.stream.return();
  }

  private async run(): Promise<void> {
    const { deps, job } = this;
    const head = await readHead(job.requests);
    const plan = planForward(deps.routing(), head, deps.clock.now());
    const kept = await this.keepBody(head);
    const failures: WeirError[] = [];
    const left = new Set(plan.targets);
    deps.budget.request();
    for (let tries = 1; ; tries += 1) {
      // The caller may have left meanwhile, when there was nothing yet that could be told.
      if (this.over) throw new CallCancelled();
      const target = this.choose(plan, left);
      if (tries > 1) deps.metrics.fallback(target.provider);
      left.delete(target);
      try {
        await this.tryTarget(plan, target, head, kept);
        return;
      } catch (thrown) {
        if (this.over) throw new CallCancelled();
        const error = toWeirError(thrown);
        const { next } = this.settle(plan, error);
        failures.push(error);
        if (next === "nowhere") throw error;
        if (kept === undefined || left.size === 0 || tries >= plan.route.attemptsMax) throw mostUseful(failures);
        if (!deps.budget.takeRetry()) {
          deps.metrics.retryDenied();
          throw mostUseful(failures);
        }
      }
    }
  }

  /** The best of the targets that were not tried; each is tried once. */
  private choose({ targets }: Plan, left: ReadonlySet<RouteTarget>): RouteTarget {
    const { health, ranking } = this.deps;
    const candidates = targets
      .filter((target) => left.has(target))
      .map((target, position) => ({ target, position, tries: 0, standing: health.standing(target) }));
    const choice = choose(candidates, ranking);
    if (choice.kind === "call") return choice.candidate.target;
    const provider = candidates[0]?.target.provider ?? "";
    throw new WeirError(ErrorReason.PROVIDER_RATE_LIMITED, { retryAfterMs: choice.waitMs, metadata: { provider } });
  }

  private async tryTarget(
    plan: Plan,
    target: RouteTarget,
    call: CallHead,
    kept: readonly CallPiece[] | undefined,
  ): Promise<void> {
    const { deps, job } = this;
    const isSession = call.endpoint === "realtime";
    const timeouts = isSession ? { ...plan.route.timeouts, totalMs: sessionMs } : plan.route.timeouts;
    const leftMs = job.context.timeoutMs();
    const limitMs = timeouts.totalMs + poolGraceMs;
    const head: ForwardAttemptRequest = {
      $typeName: "weir.passthrough.v1.ForwardAttemptRequest",
      payload: {
        case: "head",
        value: {
          $typeName: "weir.passthrough.v1.ForwardAttemptHead",
          attemptId: deps.newAttemptId(),
          requestId: job.requestId,
          target: target.message,
          timeouts: timeoutsMessage(timeouts, leftMs),
          allowUnpriced: plan.route.allowUnpriced,
          call,
        },
      },
    };
    const stream = deps.forwards.forwardAttempt(
      kept === undefined ? followedBy(head, job.requests) : replay(head, kept),
      { metadata: job.metadata, timeoutMs: leftMs === undefined ? limitMs : Math.min(leftMs, limitMs) },
    );
    this.attempt = { target, stream, report: deps.health.begin(target) };
    const result = await stream.next();
    if (this.over) throw new CallCancelled();
    if (result.done === true) {
      throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, {
        metadata: { provider: target.provider, cause: "protocol" },
      });
    }
    this.attempt.report.began();
    this.first = this.handOn(result.value);
    this.open = true;
    stream.onReady = () => this.stream.ready();
  }

  /** Reads a body that is short enough to be sent again. */
  private async keepBody(head: CallHead): Promise<readonly CallPiece[] | undefined> {
    if (head.endpoint === "realtime") return undefined;
    if (head.contentType === "") return [];
    if (head.bodyBytes === undefined || head.bodyBytes > replayBytesMax) return undefined;
    const pieces: CallPiece[] = [];
    let bytes = 0;
    for (;;) {
      const result = await this.job.requests.next();
      if (result.done === true) return pieces;
      const piece = pieceOf(result.value);
      bytes += piece.data.length;
      if (bytes > Number(head.bodyBytes) || pieces.length >= piecesMax) throw malformed();
      pieces.push(piece);
    }
  }

  private handOn({ payload }: ForwardAttemptResponse): ForwardResponse {
    if (payload.case === "head") this.refused = payload.value.status >= 400;
    if (payload.case === "end") this.whole = true;
    return { $typeName: "weir.passthrough.v1.ForwardResponse", payload };
  }

  private finish(attempt: Attempt): void {
    if (!this.whole) throw this.broke(attempt, truncated(attempt.target));
    this.over = true;
    if (this.refused) attempt.report.refused();
    else attempt.report.succeeded();
    this.deps.metrics.attempt(attempt.target.provider, this.refused ? "refused" : "ok");
    this.stream.end();
  }

  private broke(attempt: Attempt, error: WeirError): WeirError {
    this.over = true;
    attempt.report.failed("failure", error.retryAfterMs);
    this.deps.metrics.attempt(attempt.target.provider, error);
    return midAnswerReasons.has(error.reason) ? error : truncated(attempt.target);
  }

  /** Tells circuit and metrics how an attempt failed before it answered. */
  private settle(plan: Plan, error: WeirError): { readonly next: "nowhere" | "elsewhere" | "anywhere" } {
    const { attempt } = this;
    this.attempt = undefined;
    const verdict = judge(error, plan.route.timeouts, this.job.context.timeoutMs());
    if (attempt === undefined) return verdict;
    if (verdict.health === "nothing") attempt.report.abandoned();
    else if (verdict.health === "refused") attempt.report.refused();
    else attempt.report.failed(verdict.health, error.retryAfterMs);
    this.deps.metrics.attempt(attempt.target.provider, error);
    return verdict;
  }
}

const piecesMax = 10_000;

/** How an answer may fail once it has begun; whatever else happens then has broken it off. */
const midAnswerReasons: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.STREAM_TRUNCATED,
  ErrorReason.PROVIDER_TIMEOUT,
  ErrorReason.DEADLINE_EXCEEDED,
  ErrorReason.BUDGET_EXHAUSTED,
  ErrorReason.INTERNAL,
]);

async function readHead(requests: ReplyStream<ForwardRequest>): Promise<CallHead> {
  const first = await requests.next();
  if (first.done !== true && first.value.payload.case === "head") return first.value.payload.value;
  throw malformed();
}

function pieceOf({ payload }: ForwardRequest): CallPiece {
  if (payload.case !== "piece") throw malformed();
  return payload.value;
}

function malformed(): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "A call is a head, and the pieces of the body it tells of.",
  });
}

function truncated({ provider }: RouteTarget): WeirError {
  return new WeirError(ErrorReason.STREAM_TRUNCATED, { metadata: { provider } });
}

function attemptPiece(value: CallPiece): ForwardAttemptRequest {
  return { $typeName: "weir.passthrough.v1.ForwardAttemptRequest", payload: { case: "piece", value } };
}

async function* replay(head: ForwardAttemptRequest, pieces: readonly CallPiece[]) {
  yield head;
  for (const piece of pieces) yield attemptPiece(piece);
}

/** A head, and then what the caller sends as it comes. */
function followedBy(
  head: ForwardAttemptRequest,
  requests: ReplyStream<ForwardRequest>,
): ReplyStream<ForwardAttemptRequest> {
  let next: ForwardAttemptRequest | undefined = head;
  const stream = new ReplyStream<ForwardAttemptRequest>({
    begin() {
      requests.onReady = () => stream.ready();
    },
    poll() {
      const message = next;
      next = undefined;
      if (message !== undefined) return message;
      const request = requests.poll();
      if (request !== undefined) return attemptPiece(pieceOf(request));
      if (requests.ended) stream.end();
      return undefined;
    },
    hangUp() {
      void requests.return();
    },
  });
  return stream;
}
