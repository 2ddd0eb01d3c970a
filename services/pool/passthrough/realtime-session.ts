import type { IncomingMessage } from "node:http";
import { isObject, type JsonObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { ForwardAttemptRequest } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Clock } from "@weir/kit/clock";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { asError, CallCancelled, WeirError } from "@weir/kit/weir-error";
import { type RawData, WebSocket } from "ws";
import { type AttemptEnd, closing } from "../attempt.ts";
import type { AttemptTimeouts } from "../attempt-timer.ts";
import { judgeStatus, rejected, timedOut, truncated, unavailable } from "../classify.ts";
import { type Metered, unused } from "../usage-counts.ts";
import { AnswerBox } from "./answer-box.ts";
import { readUsage } from "./usage-watch.ts";

/** One session of Realtime, ready to begin. */
export interface SessionPlan {
  readonly provider: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly place: Place;
  readonly model: string;
  readonly timeouts: AttemptTimeouts;
  /** The client's events. */
  readonly pieces: ReplyStream<ForwardAttemptRequest>;
}

/** An attempt whose intent is on record. */
export interface OpenAttempt {
  /** By the monotonic clock. */
  readonly startMs: number;
  settle(end: AttemptEnd): void;
}

export interface SessionSurroundings {
  readonly clock: Clock;
  /** Sets money aside for one response, and puts its intent on record. @throws WeirError as for every attempt */
  begin(): Promise<OpenAttempt>;
  judgeCredential(failure: WeirError): WeirError;
  /** Told once; nothing of the session is under way then. @param usage of all responses that were reported */
  over(usage: Usage): void;
}

/** Largest event of a provider. */
const eventBytesMax = 32 * 1024 * 1024;
/** What may wait for a reader, or for the provider, before the other side is not read any more. */
const waitingBytesMax = 256 * 1024;
/** How long a session may be without an event from either side. */
const idleMs = 900_000;

/**
 * One session: hands events both ways, each as fast as its reader takes it, and settles an attempt for each response with what
 * `response.done` reports. An attempt is on record before any event of the client leaves that could lead to a response.
 * https://platform.openai.com/docs/guides/realtime
 */
export class RealtimeSession {
  readonly box: AnswerBox;
  private readonly plan: SessionPlan;
  private readonly around: SessionSurroundings;
  private readonly socket: WebSocket;
  private readonly cancelTotal: () => void;
  private cancelIdle: () => void;
  private heardMs: number;
  /** For the response that is under way, or comes next. */
  private attempt: OpenAttempt | undefined;
  private beginning = false;
  /** An event of the client that waits for its attempt. */
  private next: ForwardAttemptRequest | undefined;
  /** Whether the provider has begun a response that has not ended. */
  private responding = false;
  private isOpen = false;
  private over = false;
  private total: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {}, inputTokens: 0, outputTokens: 0 };

  /** @param first the attempt of the first response; connecting is part of it */
  constructor(plan: SessionPlan, around: SessionSurroundings, first: OpenAttempt) {
    const { clock } = around;
    this.plan = plan;
    this.around = around;
    this.attempt = first;
    this.box = new AnswerBox(() => {
      if (this.socket.isPaused) this.socket.resume();
    });
    this.socket = new WebSocket(plan.url, {
      headers: { ...plan.headers },
      handshakeTimeout: plan.timeouts.connectMs,
      perMessageDeflate: false,
      maxPayload: eventBytesMax,
      followRedirects: false,
    });
    this.socket.on("open", () => this.opened());
    this.socket.on("message", (data: RawData, isBinary: boolean) => this.said(data as Buffer, isBinary));
    this.socket.on("unexpected-response", (_, response: IncomingMessage) => this.refused(response));
    this.socket.on("close", () => this.closed());
    this.socket.on("error", () => this.closed());
    this.cancelTotal = clock.after(plan.timeouts.totalMs, () => this.fail(timedOut(plan.provider, "total")));
    this.heardMs = clock.monotonic();
    this.cancelIdle = clock.after(idleMs, this.watchIdle);
  }

  /** The caller has gone. */
  cancel(): void {
    this.fail(new CallCancelled());
  }

  /** The process ends. */
  giveUp(): void {
    this.fail(closing());
  }

  private opened(): void {
    const { place, model, pieces } = this.plan;
    this.isOpen = true;
    this.box.begin({
      $typeName: "weir.passthrough.v1.AnswerHead",
      status: 101,
      contentType: "",
      headers: {},
      place,
      model,
    });
    pieces.onReady = () => this.listen();
    this.listen();
  }

  /** Hands on what the client says. */
  private listen(): void {
    const { pieces } = this.plan;
    try {
      while (!this.over && !this.beginning && this.socket.bufferedAmount <= waitingBytesMax) {
        this.next ??= pieces.poll();
        const { next } = this;
        if (next === undefined) break;
        if (next.payload.case !== "piece") throw new WeirError(ErrorReason.INVALID_REQUEST);
        if (this.attempt === undefined) {
          this.beginNext();
          return;
        }
        this.next = undefined;
        this.touch();
        this.socket.send(next.payload.value.data, { binary: false }, () => {
          if (this.socket.bufferedAmount <= waitingBytesMax) this.listen();
        });
      }
      if (pieces.ended && this.next === undefined) this.end();
    } catch (thrown) {
      this.fail(asError(thrown));
    }
  }

  /** Whatever the client says next may lead to a response: its attempt comes first. */
  private beginNext(): void {
    this.beginning = true;
    this.around.begin().then(
      (attempt) => {
        this.beginning = false;
        this.attempt = attempt;
        if (this.over) this.settle(AttemptOutcome.CANCELLED, unused);
        else this.listen();
      },
      (thrown: unknown) => {
        this.beginning = false;
        this.fail(asError(thrown));
      },
    );
  }

  /** The provider said something. */
  private said(data: Buffer, isBinary: boolean): void {
    if (this.over) return;
    if (isBinary) return this.fail(unavailable(this.plan.provider, "protocol"));
    this.touch();
    if (data.includes('"response.')) this.watch(data);
    this.box.data(data);
    if (this.box.bytes > waitingBytesMax) this.socket.pause();
  }

  private watch(data: Buffer): void {
    if (data.includes('"response.created"')) this.responding ||= typeOf(data)?.["type"] === "response.created";
    if (!data.includes('"response.done"')) return;
    const event = typeOf(data);
    const response = event?.["response"];
    if (event?.["type"] !== "response.done" || !isObject(response)) return;
    this.responding = false;
    const usage = isObject(response["usage"]) ? readUsage(response["usage"], "realtime") : undefined;
    const outcome = outcomes.get(response["status"]) ?? AttemptOutcome.COMPLETED;
    const replyId = typeof response["id"] === "string" ? response["id"].slice(0, 128) : "";
    if (usage === undefined) {
      this.settle(outcome, unknown, replyId);
      return;
    }
    this.total = {
      ...this.total,
      inputTokens: (this.total.inputTokens ?? 0) + (usage.inputTokens ?? 0),
      outputTokens: (this.total.outputTokens ?? 0) + (usage.outputTokens ?? 0),
    };
    this.settle(outcome, { usage, source: UsageSource.REPORTED }, replyId);
  }

  /** The provider answered the handshake with another status. */
  private refused(response: IncomingMessage): void {
    const { provider } = this.plan;
    const { statusCode = 0, headers } = response;
    response.destroy();
    const failure = judgeStatus(provider, statusCode, headers, undefined, this.around.clock.now());
    const error = failure === undefined ? rejected(provider, statusCode) : this.around.judgeCredential(failure);
    this.fail(error);
  }

  /** The provider has ended the session, or its connection broke. */
  private closed(): void {
    const { provider } = this.plan;
    if (this.over) return;
    if (!this.isOpen) this.fail(unavailable(provider, "connect"));
    else if (this.responding) this.fail(truncated(provider));
    else this.end();
  }

  private end(): void {
    if (this.over) return;
    this.finish(this.responding ? AttemptOutcome.CANCELLED : AttemptOutcome.COMPLETED);
    this.box.end(this.total);
  }

  private fail(failure: Error): void {
    if (this.over) return;
    const gone = failure instanceof CallCancelled || this.isOpen;
    this.finish(gone ? AttemptOutcome.CANCELLED : AttemptOutcome.FAILED, failure);
    this.box.fail(failure);
  }

  private finish(outcome: AttemptOutcome, failure?: Error): void {
    this.over = true;
    this.cancelTotal();
    this.cancelIdle();
    // What a response that was cut off used is known to nobody here.
    this.settle(outcome, this.responding ? unknown : unused, "", failure);
    this.plan.pieces.onReady = undefined;
    void this.plan.pieces.return();
    if (this.socket.readyState === WebSocket.OPEN) this.socket.close(1000);
    else this.socket.terminate();
    this.around.over(this.total);
  }

  private settle(outcome: AttemptOutcome, metered: Metered, replyId = "", failure?: Error): void {
    const { attempt } = this;
    this.attempt = undefined;
    attempt?.settle({
      ...metered,
      outcome,
      failure,
      status: this.isOpen ? 101 : 0,
      replyId,
      firstContentMs: undefined,
      durationMs: this.around.clock.monotonic() - attempt.startMs,
      drained: false,
      sound: true,
    });
  }

  private touch(): void {
    this.heardMs = this.around.clock.monotonic();
  }

  /** Ends the session when neither side has said anything for too long. */
  private readonly watchIdle = (): void => {
    const { clock } = this.around;
    const leftMs = this.heardMs + idleMs - clock.monotonic();
    if (leftMs > 0) this.cancelIdle = clock.after(leftMs, this.watchIdle);
    else this.fail(timedOut(this.plan.provider, "idle"));
  };
}

const unknown: Metered = {
  usage: { $typeName: "weir.common.v1.Usage", serverToolUses: {} },
  source: UsageSource.COUNTED,
};

/** By the status of a response; one that failed on the way is billed for what came. */
const outcomes: ReadonlyMap<unknown, AttemptOutcome> = new Map([
  ["completed", AttemptOutcome.COMPLETED],
  ["incomplete", AttemptOutcome.COMPLETED],
  ["cancelled", AttemptOutcome.CANCELLED],
  ["failed", AttemptOutcome.TRUNCATED],
]);

function typeOf(data: Buffer): JsonObject | undefined {
  try {
    const json: unknown = JSON.parse(data.toString());
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}
