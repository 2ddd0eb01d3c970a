import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { TraceStep } from "@weir/kit/telemetry/trace-context";
import { CallCancelled, toWeirError, type WeirError } from "@weir/kit/weir-error";
import type { RenderedError } from "@weir/dialect/codec";
import { renderError, renderErrorEvent } from "@weir/dialect/openai/errors";
import type { Alarm, Alarms } from "../alarms.ts";
import type { Caller } from "../auth/caller.ts";
import type { Admission } from "../limits/limits.ts";
import type { AnswerKeeper } from "./answer-keeper.ts";
import { encodeChunk } from "./chunk.ts";

/** Names and values of headers in turn, the form that node:http writes fastest. */
export type HeaderList = string[];

/** What an exchange asks of the server that it belongs to. */
export interface ExchangeHost {
  readonly alarms: Alarms;
  /** How long a client may refuse to read, in milliseconds. */
  writeStallMs(): number;
  /** Appends the headers that every answer carries. */
  appendHeaders(exchange: Exchange, headers: HeaderList): void;
  /** Nothing has left for `writeStallMs`; calls `cutStalled` when its turn comes. */
  stalled(exchange: Exchange): void;
  /** The last byte has left, or the connection is gone. */
  closed(exchange: Exchange): void;
}

/** Bodies that nobody reads and that are longer than this end their connection. */
const unreadBytesMax = 65_536;
/** How long a client may go on sending a body after it was refused, so that it comes to read the refusal. */
const lingerMs = 2_000;
/** Most of such a body that is read and thrown away; a client that sends more has to wait, and can read its refusal. */
const lingerBytesMax = 1_048_576;
const never = Number.POSITIVE_INFINITY;

/** How failures are told in a client's dialect. */
export interface ErrorVoice {
  renderError(
    error: WeirError,
    requestId: string,
  ): Omit<RenderedError, "body"> & { readonly body: string | Uint8Array };
  /** The last of a stream that has begun; empty: nothing can be said, and the connection is cut. */
  renderErrorEvent(error: WeirError, requestId: string): string | Uint8Array;
}

const openaiVoice: ErrorVoice = { renderError, renderErrorEvent };

/** One request and its answer. */
export class Exchange implements Alarm {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The request's id, ours. */
  readonly id: string;
  /** Monotonic. */
  readonly startMs: number;
  readonly socket: Socket;
  /** Whether the client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean;
  dueMs = never;
  /** Called once when the client left, the answer failed or the server gave it up, before the answer was complete. */
  onGone: (() => void) | undefined;
  /** How failures of this request are told. */
  voice: ErrorVoice = openaiVoice;
  /** The path as metrics and spans name it. */
  label = "none";
  /** What was called, as the audit log names it. */
  action = "none";
  /** Whose request it is, once that is known. */
  caller: Caller | undefined;
  /** From the arrival until the first content of a stream; undefined: no stream, or none came. */
  firstContentMs: number | undefined;
  /** What its call has taken of its caller's limits; ended with the exchange. */
  admission: Admission | undefined;
  trace: TraceStep | undefined;
  /** Whether no more of the body will come, though it is not whole. */
  bodyEnded = false;
  /** The body, when somebody read it before the handler: reading it again gives the same. */
  body: Buffer | undefined;
  /** Who takes part in the answer before it leaves. */
  keeper: AnswerKeeper | undefined;
  /** Bytes of bodies that are in memory for it: the request's, and long answers'. */
  bodyBytes = 0;
  /** Whether the connection shall close after this answer. */
  isLast = false;
  /** Why the answer is an error, if it is one. */
  failure: WeirError | undefined;
  /** What was thrown, when it was no WeirError. */
  defect: unknown;
  /** Whether the connection is gone or the answer has left whole. */
  isClosed = false;
  private readonly host: ExchangeHost;
  private onDue: (() => void) | undefined;
  private wake: (() => void) | undefined;
  private events = false;
  /** Whether the answer is in chunks, which are made here. */
  private chunked = false;
  private brokenOff = false;
  private continued = false;
  private readonly upgradeHead: Buffer | undefined;
  private upgraded = false;
  /** Bytes that the system had not taken when the exchange was found stalled. */
  private stalledBytes = 0;

  /** @param upgradeHead what came after the head of a request that asks for WebSocket; undefined: it does not */
  constructor(
    host: ExchangeHost,
    request: IncomingMessage,
    response: ServerResponse,
    id: string,
    startMs: number,
    expectsContinue: boolean,
    upgradeHead?: Buffer,
  ) {
    this.host = host;
    this.request = request;
    this.response = response;
    this.id = id;
    this.startMs = startMs;
    this.socket = request.socket;
    this.expectsContinue = expectsContinue;
    this.upgradeHead = upgradeHead;
    response.on("close", () => this.close());
    // Writing to a connection that is just breaking must not end the process.
    response.on("error", ignore);
  }

  /** Whether nothing was said yet, so that a failure can still have its own status. */
  get isSilent(): boolean {
    return !this.response.headersSent && !this.isOver;
  }

  /** Whether nothing more can be said. */
  get isOver(): boolean {
    return this.isClosed || this.brokenOff || this.upgraded || this.response.writableEnded;
  }

  /** Whether the answer left whole. */
  get isComplete(): boolean {
    return this.upgraded || (this.response.writableFinished && !this.brokenOff);
  }

  /** Of the answer; undefined while nothing was said. */
  get status(): number | undefined {
    if (this.upgraded) return switchingProtocols;
    return this.response.headersSent ? this.response.statusCode : undefined;
  }

  /**
   * Takes the connection over, for another protocol. From here on the exchange answers nothing; it lasts until the connection closes, and
   * `onGone` tells when it must.
   * @returns what came after the head; undefined: the request does not ask for WebSocket, and nothing was taken
   */
  takeSocket(): Buffer | undefined {
    if (this.upgradeHead === undefined || !this.isSilent) return undefined;
    this.upgraded = true;
    this.response.detachSocket(this.socket);
    return this.upgradeHead;
  }

  /** The time by which alarms go, monotonic. */
  get nowMs(): number {
    return this.host.alarms.nowMs;
  }

  /** Where those that must hold beside the exchange's own are set. */
  get alarms(): Alarms {
    return this.host.alarms;
  }

  /** Calls once after a delay, unless another alarm is set before. */
  alarm(delayMs: number, onDue: () => void): void {
    this.onDue = onDue;
    this.dueMs = this.host.alarms.nowMs + delayMs;
  }

  /** Puts the alarm that is set off until `delayMs` from now. */
  delayAlarm(delayMs: number): void {
    this.dueMs = this.host.alarms.nowMs + delayMs;
  }

  clearAlarm(): void {
    this.dueMs = never;
  }

  ring(): void {
    try {
      this.onDue?.();
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  /** Answers at once, whole. */
  answer(status: number, headers: HeaderList, body: string | Uint8Array): void {
    if (!this.isSilent) return;
    const { keeper } = this;
    if (keeper !== undefined) {
      this.keeper = undefined;
      keeper
        .answered(status, headers, body)
        .then((added) => this.answer(status, [...headers, ...added], body))
        .catch((thrown: unknown) => this.giveUp(thrown));
      return;
    }
    const all: HeaderList = [];
    this.host.appendHeaders(this, all);
    for (const item of headers) all.push(item);
    // Of 304 it would be the length of what the client has.
    if (status !== 204 && status !== 304) all.push("content-length", String(Buffer.byteLength(body)));
    const unread = this.unreadBody();
    if (unread !== "none") all.push("connection", "close");
    this.response.writeHead(status, all);
    this.expectDeparture();
    if (unread !== "coming") {
      this.response.end(body);
      return;
    }
    // The connection closes with `end`, and what is still unread then would destroy the answer on its way.
    this.response.write(body);
    let lingerBytes = 0;
    this.request.on("data", (part: Buffer) => {
      lingerBytes += part.length;
      if (lingerBytes > lingerBytesMax) this.request.pause();
    });
    this.request.resume();
    this.request.on("end", () => this.response.end());
    this.alarm(lingerMs, () => {
      this.response.end();
      this.expectDeparture();
    });
  }

  /** Begins an answer whose length is not known. `events`: whether it is a stream of server-sent events. */
  begin(status: number, headers: HeaderList, events: boolean): void {
    if (!this.isSilent) return;
    const all: HeaderList = [];
    this.host.appendHeaders(this, all);
    for (const item of headers) all.push(item);
    this.events = events;
    this.keeper?.began(status, headers);
    this.response.writeHead(status, all);
    this.chunked = this.response.chunkedEncoding;
    this.response.chunkedEncoding = false;
  }

  /**
   * Writes more of an answer that has begun.
   * @returns false when the client does not keep up; then wait for `writable`
   */
  write(data: string | Uint8Array): boolean {
    if (this.isOver || data.length === 0) return true;
    this.keeper?.wrote(data);
    return this.response.write(this.chunked ? encodeChunk(data) : data);
  }

  /** Holds back what is written until `uncork`; then it leaves in one system call, at once. */
  cork(): void {
    this.socket.cork();
  }

  uncork(): void {
    this.socket.uncork();
  }

  /** Whether the client has yet to read what was written. */
  get isStalled(): boolean {
    return this.response.writableNeedDrain;
  }

  /**
   * Resolves when the client keeps up again, or is gone. Resets the connection when it takes too long. Uses the alarm.
   */
  writable(): Promise<void> {
    if (this.isOver || !this.response.writableNeedDrain) return Promise.resolve();
    this.expectDeparture();
    return new Promise((resolve) => {
      if (this.wake === undefined) this.response.once("drain", () => this.resume());
      this.wake = resolve;
    });
  }

  /** Ends an answer that has begun. */
  end(data: string | Uint8Array): void {
    if (this.isOver) return;
    const { keeper } = this;
    if (keeper !== undefined) {
      this.keeper = undefined;
      keeper
        .ended(data)
        .then(() => this.end(data))
        .catch((thrown: unknown) => this.giveUp(thrown));
      return;
    }
    this.expectDeparture();
    this.response.end(this.chunked ? encodeChunk(data, true) : data);
  }

  /**
   * Gives the request up: with a status of its own while nothing was said, otherwise with an error event where the
   * answer is a stream of events, and a connection that is cut, so that nobody takes what came for complete. Never
   * throws.
   */
  fail(thrown: unknown): void {
    const gone = this.onGone;
    this.onGone = undefined;
    gone?.();
    if (this.isOver || this.failure !== undefined) return;
    const error = toWeirError(thrown);
    if (error !== thrown && error.reason === ErrorReason.INTERNAL && !(thrown instanceof CallCancelled)) {
      this.defect = thrown;
    }
    this.failure = error;
    try {
      if (this.isSilent) {
        const { status, headers, body } = this.voice.renderError(error, this.id);
        this.answer(status, Object.entries(headers).flat(), body);
      } else {
        this.breakOff(error);
      }
    } catch (second) {
      // Nothing is above this that could answer, and the process serves others.
      this.defect ??= second;
      this.reset();
    }
    this.resume();
  }

  /** Cuts the connection now. */
  reset(): void {
    this.brokenOff = true;
    if (this.socket.destroyed) {
      this.close();
      return;
    }
    // Without chunked encoding an orderly end would read as the end of the answer.
    if (this.request.httpVersionMinor === 0) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  /** Cuts the connection, unless something has left since the exchange was found stalled. */
  cutStalled(): void {
    // Whoever went on has set another alarm, or waits for nothing.
    if (this.isClosed || this.dueMs !== never) return;
    const unsent = unsentBytes(this.socket);
    if (unsent === this.stalledBytes) this.reset();
    else if (unsent > 0) this.expectDeparture();
  }

  /** The connection is gone, or the answer has left. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.dueMs = never;
    this.onDue = undefined;
    const gone = this.onGone;
    this.onGone = undefined;
    gone?.();
    this.keeper?.broke();
    this.keeper = undefined;
    this.resume();
    this.host.closed(this);
  }

  /** For what is thrown when nobody waits for it any more: it would end the process. */
  private giveUp(thrown: unknown): void {
    if (this.failure === undefined) this.fail(thrown);
    else this.reset();
  }

  private breakOff(error: WeirError): void {
    this.expectDeparture();
    const frame = this.events ? this.voice.renderErrorEvent(error, this.id) : "";
    if (frame.length === 0) {
      this.reset();
      return;
    }
    this.response.write(this.chunked ? encodeChunk(frame) : frame, () => this.reset());
    this.brokenOff = true;
  }

  /** Cuts the connection when nothing leaves for too long. */
  private expectDeparture(): void {
    const unsent = unsentBytes(this.socket);
    this.alarm(this.host.writeStallMs(), () => {
      // An answer behind others on its connection waits for those, not for the client.
      const isWaiting = this.response.socket === null && !this.socket.destroyed;
      if (isWaiting || unsentBytes(this.socket) !== unsent) {
        this.expectDeparture();
      } else {
        this.stalledBytes = unsent;
        this.host.stalled(this);
      }
    });
  }

  private resume(): void {
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }

  /** What is left of the body that this answer does not wait for: too much to skip it on a connection that stays. */
  private unreadBody(): "none" | "stopped" | "coming" {
    const { request } = this;
    if (request.complete) return "none";
    if (this.bodyEnded) return "stopped";
    if (this.expectsContinue && !this.continued) return "stopped";
    const long =
      request.headers["transfer-encoding"] !== undefined ||
      Number(request.headers["content-length"] ?? 0) > unreadBytesMax;
    return long ? "coming" : "none";
  }

  /** Tells a client that waits for it to send its body. */
  askForBody(): void {
    if (!this.expectsContinue || this.continued || this.isOver) return;
    this.continued = true;
    this.response.writeContinue();
  }
}

const switchingProtocols = 101;

function ignore(): void {}

/**
 * Bytes that the system has not taken yet. A large piece is taken bit by bit, of which only the handle knows; node:net
 * looks there as well to tell a slow peer from one that stands still.
 */
function unsentBytes(socket: Socket): number {
  const { _handle: handle } = socket as { _handle?: { writeQueueSize?: number } | null };
  return socket.writableLength + (handle?.writeQueueSize ?? 0);
}
