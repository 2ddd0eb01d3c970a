import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { WireChunk, WireHead, WireTail } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { asError, CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { EdgeSettings } from "../config.ts";
import type { ErrorVoice, Exchange, HeaderList } from "../http/exchange.ts";
import type { Admission } from "../limits/limits.ts";
import type { Measures } from "../measures.ts";
import { eventForm, type StreamForm } from "./stream-form.ts";

export interface RelayDeps {
  readonly measures: Measures;
  readonly clock: Clock;
}

/** What is kept of an answer of unknown length, to tell its length; a longer one goes out as it comes. */
const heldBytesMax = 1_048_576;

/** Carries one reply to its client. */
export class Relay {
  private readonly deps: RelayDeps;
  /** The path by which the edge measures. */
  private readonly label: string;
  private readonly exchange: Exchange;
  private readonly settings: EdgeSettings;
  private readonly admission: Admission;
  private readonly form: StreamForm;
  /** How the reply goes out: not begun, as events, held until its length is known, or as it comes. */
  private mode: "waiting" | "events" | "held" | "flowing" = "waiting";
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  private headers: HeaderList = [];
  private status = 200;
  private complete = false;
  private counted = false;

  constructor(
    deps: RelayDeps,
    label: string,
    exchange: Exchange,
    settings: EdgeSettings,
    admission: Admission,
    form: StreamForm = eventForm,
  ) {
    this.deps = deps;
    this.label = label;
    this.exchange = exchange;
    this.settings = settings;
    this.admission = admission;
    this.form = form;
  }

  /** Waits for content only so long, and then lets the client know that there is life. */
  holdHeaders(): void {
    this.exchange.alarm(this.settings.holdHeadersMs, () => {
      this.openEvents([]);
      this.exchange.write(this.form.waiting());
      this.beat();
    });
  }

  /** Resolves when the reply is over; then the client has it, or has gone. */
  async run(reply: ReplyStream<GenerateResponse>): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        let stalled = false;
        const read = (): void => {
          if (stalled) return;
          this.exchange.cork();
          try {
            stalled = !this.takeAll(reply);
            if (stalled) void this.exchange.writable().then(goOn);
            else if (reply.ended) resolve();
          } catch (thrown) {
            reject(asError(thrown));
          } finally {
            this.exchange.uncork();
          }
        };
        const goOn = (): void => {
          stalled = false;
          this.rest();
          read();
        };
        reply.onReady = read;
        read();
      });
      // The client's leaving ends the reply as well.
      if (!this.complete)
        throw this.exchange.isOver ? new CallCancelled() : new WeirError(ErrorReason.STREAM_TRUNCATED);
    } catch (thrown) {
      // Nothing was said, so nothing was used; otherwise what was reserved stands for what nobody reported.
      if (this.mode === "waiting" && !this.exchange.isClosed) this.admission.settle(0);
      if (!this.complete) throw thrown;
    } finally {
      void reply.return();
      if (this.counted) this.deps.measures.streamClosed();
    }
  }

  /**
   * Takes the messages that are there.
   * @returns false when the client does not keep up
   */
  private takeAll(reply: ReplyStream<GenerateResponse>): boolean {
    for (;;) {
      const message = reply.poll();
      if (message === undefined) return true;
      // A reply is read to its end even when all of it has left, so that the other side counts it as taken.
      if (this.complete) continue;
      if (this.exchange.isOver) {
        // Nobody is left to read.
        void reply.return();
        return true;
      }
      if (message.payload.case !== "wire") throw new WeirError(ErrorReason.INTERNAL);
      if (!this.take(message.payload.value)) return false;
    }
  }

  /** @returns false when the client does not keep up */
  private take({ head, data, tail }: WireChunk): boolean {
    if (this.mode === "waiting") this.begin(head);
    if (tail !== undefined) {
      this.settle(tail);
      this.finish(data);
      return true;
    }
    if (this.mode === "held") return this.hold(data);
    this.exchange.delayAlarm(this.mode === "events" ? this.settings.heartbeatMs : Number.POSITIVE_INFINITY);
    const piece = this.reframe(data, false);
    return piece.length === 0 || this.exchange.write(piece);
  }

  private begin(head: WireHead | undefined): void {
    if (head === undefined) throw new WeirError(ErrorReason.INTERNAL);
    const { exchange } = this;
    const seconds = (this.deps.clock.monotonic() - exchange.startMs) / 1_000;
    const isEvents = head.status === 200 && head.contentType.startsWith("text/event-stream");
    exchange.clearAlarm();
    if (isEvents) {
      this.deps.measures.firstContent(this.label, seconds);
      exchange.firstContentMs = seconds * 1_000;
      if (exchange.isSilent) this.openEvents(headHeaders(head, seconds, exchange.voice));
      // The headers have left for want of content.
      else this.tellWarnings(head);
      this.beat();
      this.mode = "events";
    } else if (exchange.isSilent) {
      this.mode = "held";
      this.status = head.status;
      this.headers = [
        "content-type",
        headerValue(head.contentType || "application/json"),
        ...headHeaders(head, seconds, exchange.voice),
      ];
    } else {
      // The stream has begun for want of content, so that the refusal can only be told inside it.
      throw new WeirError(ErrorReason.PROVIDER_REJECTED, {
        metadata: { provider: head.provider, status: String(head.status) },
      });
    }
  }

  private openEvents(headers: HeaderList): void {
    this.counted = true;
    this.deps.measures.streamOpened();
    this.exchange.begin(200, [...this.form.headers, ...headers], true);
  }

  private tellWarnings({ warnings }: WireHead): void {
    if (warnings.length === 0) return;
    const comment = this.form.comment(`weir-warnings ${headerValue(warningsText(warnings))}`);
    if (comment !== "") this.exchange.write(comment);
  }

  private reframe(data: Uint8Array, isLast: boolean): Uint8Array | string {
    return this.mode === "events" ? (this.form.reframe?.(data, isLast) ?? data) : data;
  }

  private beat(): void {
    this.exchange.alarm(this.settings.heartbeatMs, () => {
      if (!this.exchange.isStalled) this.exchange.write(this.form.ping);
      this.exchange.delayAlarm(this.settings.heartbeatMs);
    });
  }

  /** The client keeps up again. */
  private rest(): void {
    // Whoever broke it off has set an alarm of its own.
    if (this.exchange.isOver) return;
    if (this.mode === "events") this.beat();
    else this.exchange.clearAlarm();
  }

  private hold(data: Uint8Array): boolean {
    this.held.push(data);
    this.heldBytes += data.length;
    if (this.heldBytes <= heldBytesMax) return true;
    this.mode = "flowing";
    this.exchange.begin(this.status, this.headers, false);
    const keepsUp = this.exchange.write(Buffer.concat(this.held, this.heldBytes));
    this.held = [];
    return keepsUp;
  }

  private finish(data: Uint8Array): void {
    const last = this.reframe(data, true);
    this.complete = true;
    // From here on the end of the connection says nothing about the call.
    this.exchange.onGone = undefined;
    if (this.mode !== "held") {
      this.exchange.end(last);
      return;
    }
    const body = this.held.length === 0 ? data : Buffer.concat([...this.held, data]);
    this.held = [];
    this.exchange.answer(this.status, this.headers, body);
  }

  private settle({ usage }: WireTail): void {
    if (usage?.inputTokens === undefined && usage?.outputTokens === undefined) return;
    this.admission.settle((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0));
  }
}

/** Headers that are ours, or that say how bytes are framed, whatever an answer from inside holds. */
const ownHeader =
  /^(?:x-request-id|x-weir-.*|x-ratelimit-.*|access-control-.*|openai-processing-ms|content-type|content-length|content-encoding|transfer-encoding|connection|keep-alive|trailer|upgrade|te|date|set-cookie|vary)$/;
const headerNameShape = /^[a-z0-9-]+$/;

/** Failures in OpenAI's words: what its clients get. */
const openaiVoices: ReadonlySet<ErrorVoice["renderError"]> = new Set([
  openaiChat.renderError,
  openaiResponses.renderError,
]);

function headHeaders(head: WireHead, seconds: number, voice: ErrorVoice): HeaderList {
  const headers = [
    "x-weir-model",
    headerValue(`${head.provider}/${head.model}`),
    "x-weir-attempts",
    String(head.attempts),
  ];
  if (openaiVoices.has(voice.renderError)) headers.push("openai-processing-ms", String(Math.round(seconds * 1_000)));
  if (head.warnings.length > 0) headers.push("x-weir-warnings", headerValue(warningsText(head.warnings)));
  if (head.budgetRemainingNanoUsd !== undefined) {
    headers.push("x-weir-budget-remaining-usd", usdText(head.budgetRemainingNanoUsd));
  }
  for (const name in head.headers) {
    if (!headerNameShape.test(name) || ownHeader.test(name)) continue;
    headers.push(name, headerValue(head.headers[name] as string));
  }
  return headers;
}

/** USD with nine decimals: `0.001250000`. */
export function usdText(nanoUsd: bigint): string {
  return `${nanoUsd / 1_000_000_000n}.${String(nanoUsd % 1_000_000_000n).padStart(9, "0")}`;
}

export const warningsLengthMax = 2_048;

/** `field_dropped seed, field_dropped user`: what was left out, and why, in words for programs. */
function warningsText(warnings: readonly Warning[]): string {
  return warnings
    .map(({ code, param }) => (param === "" ? code : `${code} ${param}`))
    .join(", ")
    .slice(0, warningsLengthMax);
}

const plainText = /^[\x20-\x7e]*$/;

/** A text as a header may hold it. */
function headerValue(text: string): string {
  return plainText.test(text) ? text : text.replace(/[^\x20-\x7e]/g, "?");
}
