import type { IncomingMessage } from "node:http";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { ForwardAttemptRequest } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Clock } from "@weir/kit/clock";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { asError, CallCancelled, WeirError } from "@weir/kit/weir-error";
import { type RawData, WebSocket } from "ws";
import { closing } from "../attempt.ts";
import type { AttemptTimeouts } from "../attempt-timer.ts";
import { judgeStatus, rejected, timedOut, truncated, unavailable } from "../classify.ts";
import { type Metered, unused } from "../usage-counts.ts";
import { AnswerBox } from "./answer-box.ts";
import { type ClientEvent, readClientEvent, readResponseEvent, tooManyResponses, unknown } from "./realtime-events.ts";
import { type OpenAttempt, Responses, responsesMax } from "./realtime-responses.ts";

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

export interface SessionSurroundings {
  readonly clock: Clock;
  /** Sets money aside for one response, and puts its intent on record. @throws WeirError as for every attempt */
  begin(): Promise<OpenAttempt>;
  /**
   * An attempt for a response that the provider began unasked: as `begin`, but it is on record whatever happens, without money
   * when none is left.
   * @param begun called once; with what `begin` threw
   */
  beginLate(begun: (failure: Error | undefined) => void): OpenAttempt;
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
 * `response.done` reports. An attempt is on record before any event of the client leaves that could lead to a response; a
 * `response.create` beyond `responsesMax` open ones is refused.
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
  private readonly responses = new Responses();
  private beginning = false;
  /** Attempts for responses that the provider began unasked which are not on record yet. */
  private late = 0;
  /** An event of the client that waits for its attempt. */
  private next: { readonly data: Buffer; readonly event: ClientEvent } | undefined;
  private isOpen = false;
  private over = false;
  private total: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {}, inputTokens: 0, outputTokens: 0 };

  /** @param first the attempt of the first response; connecting is part of it */
  constructor(plan: SessionPlan, around: SessionSurroundings, first: OpenAttempt) {
    const { clock } = around;
    this.plan = plan;
    this.around = around;
    this.responses.add(first);
    this.box = new AnswerBox(() => {
      this.resume();
      if (!this.over) this.listen();
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
    const { responses, socket } = this;
    try {
      while (!this.over && !this.beginning && socket.bufferedAmount <= waitingBytesMax) {
        this.next ??= readPiece(pieces.poll());
        if (this.next === undefined) break;
        const { data, event } = this.next;
        const isRefused = event.cause === "asks" && responses.isFull;
        if (isRefused && this.box.bytes > waitingBytesMax) break;
        if (!isRefused && responses.lacks(event)) {
          this.beginNext();
          return;
        }
        this.next = undefined;
        this.touch();
        if (isRefused) {
          this.box.data(tooManyResponses(event, responsesMax));
          continue;
        }
        responses.sent(event);
        socket.send(data, { binary: false }, () => {
          if (socket.bufferedAmount <= waitingBytesMax) this.listen();
        });
      }
      if (pieces.ended && this.next === undefined) this.end();
    } catch (thrown) {
      this.fail(asError(thrown));
    }
  }

  /** What the client says next may lead to a response: its attempt comes first. */
  private beginNext(): void {
    this.beginning = true;
    this.around.begin().then(
      (attempt) => {
        this.beginning = false;
        if (this.over) return this.settle(attempt, AttemptOutcome.CANCELLED, unused);
        this.responses.add(attempt);
        this.listen();
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
    this.watch(data);
    this.box.data(data);
    if (this.box.bytes > waitingBytesMax) this.socket.pause();
  }

  private watch(data: Buffer): void {
    const { responses } = this;
    const event = readResponseEvent(data);
    if (event?.type === "refused") responses.refused(event.eventId);
    if (event?.type === "created") {
      responses.created(event.responseId, this.beginLate);
      if (responses.isFlooded) this.fail(unavailable(this.plan.provider, "protocol"));
    }
    if (event?.type !== "done") return;
    const { responseId, outcome, usage } = event;
    const attempt = responses.done(responseId, this.beginLate);
    this.settle(attempt, outcome, usage === undefined ? unknown : { usage, source: UsageSource.REPORTED }, responseId);
    this.total = {
      ...this.total,
      inputTokens: (this.total.inputTokens ?? 0) + (usage?.inputTokens ?? 0),
      outputTokens: (this.total.outputTokens ?? 0) + (usage?.outputTokens ?? 0),
    };
  }

  /** Nothing is read of a provider that begins too much unasked, until it is on record. */
  private readonly beginLate = (): OpenAttempt => {
    this.late += 1;
    if (this.late >= responsesMax) this.socket.pause();
    return this.around.beginLate((failure) => {
      this.late -= 1;
      this.resume();
      if (failure !== undefined) this.fail(failure);
    });
  };

  private resume(): void {
    if (this.socket.isPaused && this.late < responsesMax && this.box.bytes <= waitingBytesMax) this.socket.resume();
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
    else if (this.responses.isAny) this.fail(truncated(provider));
    else this.end();
  }

  private end(): void {
    if (this.over) return;
    this.finish(AttemptOutcome.COMPLETED);
    this.box.end(this.total);
  }

  private fail(failure: Error): void {
    if (this.over) return;
    const gone = failure instanceof CallCancelled || this.isOpen;
    this.finish(gone ? AttemptOutcome.CANCELLED : AttemptOutcome.FAILED, failure);
    this.box.fail(failure);
  }

  /** @param unusedOutcome of attempts that stand for no response */
  private finish(unusedOutcome: AttemptOutcome, failure?: Error): void {
    this.over = true;
    this.cancelTotal();
    this.cancelIdle();
    const { cut, unused: rest } = this.responses.close();
    // What a response that was cut off used is known to nobody here.
    for (const [id, attempt] of cut) this.settle(attempt, AttemptOutcome.CANCELLED, unknown, id, failure);
    for (const attempt of rest) this.settle(attempt, unusedOutcome, unused, "", failure);
    this.plan.pieces.onReady = undefined;
    void this.plan.pieces.return();
    if (this.socket.readyState === WebSocket.OPEN) this.socket.close(1000);
    else this.socket.terminate();
    this.around.over(this.total);
  }

  private settle(attempt: OpenAttempt, outcome: AttemptOutcome, metered: Metered, replyId = "", failure?: Error): void {
    attempt.settle({
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

/** @throws WeirError INVALID_REQUEST */
function readPiece(message: ForwardAttemptRequest | undefined): { data: Buffer; event: ClientEvent } | undefined {
  if (message === undefined) return undefined;
  if (message.payload.case !== "piece") throw new WeirError(ErrorReason.INVALID_REQUEST);
  const { buffer, byteOffset, byteLength } = message.payload.value.data;
  const data = Buffer.from(buffer, byteOffset, byteLength);
  return { data, event: readClientEvent(data) };
}
