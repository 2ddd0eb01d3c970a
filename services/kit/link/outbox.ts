import type { ByteWriter } from "../byte-writer.ts";
import { FrameBatch } from "./frame.ts";
import { messageCostBytes } from "./settings.ts";

/** Larger messages are sent in parts of this size, in turns with those of other calls. */
export const partBytes = 64 * 1024;
/** No further part is added to a batch that has reached this size. */
const batchBytes = 256 * 1024;
/** From here on the link is congested: who can wait waits. */
const congestedBytes = 1024 * 1024;

/** A message on its way out. */
interface Outgoing {
  readonly bytes: Uint8Array;
  sent: number;
}

/** Who sends messages that may have to wait. */
export interface Sender {
  /** Nothing is pending any more, and there is credit. */
  writable(): void;
  /** The last pending message has just left; what is written now follows it. */
  emptied(): void;
}

/** The sending side of one call. */
export class OutgoingCall {
  readonly id: number;
  /** Bytes of parts that may still leave. Infinite for requests, which are bounded by the size of one message. */
  credit: number;
  /** What does not leave at once: messages that are large or lack credit. */
  readonly pending: Outgoing[] = [];
  /** Undefined: one who sends one message and does not wait for it. */
  readonly sender: Sender | undefined;
  queued = false;
  closed = false;

  constructor(id: number, credit: number, sender?: Sender) {
    this.id = id;
    this.credit = credit;
    this.sender = sender;
  }
}

export interface OutboxOptions {
  /** Hands one message, with its prefix, to the stream. False: no more, please, until `drained` is called. */
  readonly write: (message: Buffer) => boolean;
}

/**
 * What one side of a link has to say. Frames that become ready in one turn of the event loop leave together, and while
 * the stream takes no more the next batch gathers, so that the stream's own back-pressure reaches the callers.
 */
export class Outbox {
  /** Frames that leave next, in order. */
  readonly batch = new FrameBatch();
  private readonly write: (message: Buffer) => boolean;
  private readonly turns: OutgoingCall[] = [];
  private readonly waiting = new Set<OutgoingCall>();
  private finished: (() => void) | undefined;
  private scheduled = false;
  /** The stream takes no more. */
  private full = false;
  private closed = false;
  private pendingBytes = 0;

  constructor(options: OutboxOptions) {
    this.write = options.write;
  }

  /** Bytes that wait to be written. */
  get waitingBytes(): number {
    return this.batch.length + this.pendingBytes;
  }

  /** To be called after frames were put into `batch`. */
  touch(): void {
    if (this.scheduled || this.full || this.closed) return;
    this.scheduled = true;
    setImmediate(this.flush);
  }

  /**
   * Sends a message that was just encoded. False: the caller should hold further messages of this call back until the
   * sender is told that the call is writable.
   */
  send(call: OutgoingCall, message: ByteWriter): boolean {
    const { length } = message;
    if (length <= partBytes && call.credit > 0 && call.pending.length === 0) {
      call.credit -= length + messageCostBytes;
      this.batch.message(call.id, message);
      this.touch();
    } else {
      const bytes = Buffer.allocUnsafe(length);
      message.copyTo(bytes, 0);
      call.pending.push({ bytes, sent: 0 });
      this.pendingBytes += length;
      this.enqueue(call);
    }
    return this.writable(call);
  }

  /** More bytes of this call may leave. */
  grant(call: OutgoingCall, bytes: number): void {
    call.credit += bytes;
    if (call.credit <= 0) return;
    if (call.pending.length > 0) this.enqueue(call);
    else if (this.writable(call)) call.sender?.writable();
  }

  /** Forgets what the call still had to send. */
  drop(call: OutgoingCall): void {
    call.closed = true;
    this.waiting.delete(call);
    if (call.pending.length === 0) return;
    for (const { bytes, sent } of call.pending) this.pendingBytes -= bytes.length - sent;
    call.pending.length = 0;
  }

  /** Calls back once when all that is in `batch` has been written; nothing is sent after that. */
  finish(call: () => void): void {
    this.finished = call;
    this.touch();
  }

  /** The stream takes messages again. */
  drained(): void {
    this.full = false;
    if (this.batch.length > 0 || this.turns.length > 0 || this.finished !== undefined) this.touch();
  }

  /** Nothing is sent any more. */
  close(): void {
    this.closed = true;
    this.turns.length = 0;
    this.waiting.clear();
  }

  private writable(call: OutgoingCall): boolean {
    if (call.pending.length > 0 || call.credit <= 0) return false;
    if (this.batch.length < congestedBytes) return true;
    this.waiting.add(call);
    return false;
  }

  private enqueue(call: OutgoingCall): void {
    if (call.queued || call.credit <= 0) return;
    call.queued = true;
    this.turns.push(call);
    this.touch();
  }

  private pendingLeft(call: OutgoingCall): void {
    call.sender?.emptied();
    if (!call.closed && this.writable(call)) call.sender?.writable();
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    if (this.closed) return;
    this.fill();
    if (this.batch.length === 0) {
      if (this.finished === undefined) return;
      this.close();
      this.finished();
      return;
    }
    const congested = this.waiting.size > 0;
    this.full = !this.write(this.batch.take());
    if (congested) this.wake();
    if (!this.full && (this.turns.length > 0 || this.finished !== undefined)) this.touch();
  };

  /** Adds parts of large messages, one call after the other. */
  private fill(): void {
    while (this.turns.length > 0 && this.batch.length < batchBytes) {
      const call = this.turns.shift() as OutgoingCall;
      call.queued = false;
      const message = call.pending[0];
      if (call.closed || message === undefined || call.credit <= 0) continue;
      const { bytes, sent } = message;
      const end = Math.min(bytes.length, sent + partBytes);
      this.batch.part(call.id, bytes, sent, end, end < bytes.length);
      message.sent = end;
      call.credit -= end - sent + (end < bytes.length ? 0 : messageCostBytes);
      this.pendingBytes -= end - sent;
      if (end === bytes.length) call.pending.shift();
      if (call.pending.length === 0) {
        this.pendingLeft(call);
      } else if (call.credit > 0) {
        call.queued = true;
        this.turns.push(call);
      }
    }
  }

  private wake(): void {
    const calls = [...this.waiting];
    this.waiting.clear();
    for (const call of calls) {
      if (!call.closed && this.writable(call)) call.sender?.writable();
    }
  }
}
