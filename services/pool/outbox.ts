import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { WireChunk, WireHead, WireTail } from "@weir/gen/weir/chat/v1/wire_pb";
import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { Piece } from "./answers/answer-path.ts";
import { contentBytes } from "./answers/events.ts";

/**
 * What an attempt has for its caller: held back until it is released, then given in messages of all that is ready. The
 * reader that is slower than the provider finds larger messages, not more of them.
 */
export class Outbox {
  /** Called when `poll`, which had nothing to give, may have something. */
  onReady: (() => void) | undefined;
  /** Called when the reader has taken all there was. */
  private readonly taken: () => void;
  private head: WireHead | undefined;
  private pieces: Buffer[] = [];
  /** For a caller of the canonical form; it gets neither head nor tail. */
  private events: GenerateEvent[] = [];
  private eventsRead = 0;
  private tail: WireTail | undefined;
  private failure: Error | undefined;
  private released = false;
  /** Bytes that wait for the reader. */
  bytes = 0;

  constructor(taken: () => void) {
    this.taken = taken;
  }

  begin(head: WireHead): void {
    this.head = head;
  }

  push(piece: Piece): void {
    if (Buffer.isBuffer(piece)) {
      this.pieces.push(piece);
      this.bytes += piece.length;
      return;
    }
    for (const event of piece) {
      this.events.push(event);
      this.bytes += eventBytes + contentBytes([event]);
    }
  }

  /** From now on nothing can be taken back. */
  release(): void {
    this.released = true;
    this.onReady?.();
  }

  /** The answer is whole; nobody hears of it after a failure, which took what was not read. */
  end(tail: WireTail): void {
    if (this.failure !== undefined) return;
    this.tail = tail;
    this.release();
  }

  /** The answer ends here; what was released is still read. */
  fail(failure: Error): void {
    if (!this.released) this.drop();
    this.failure = failure;
    this.onReady?.();
  }

  /** Forgets what was not read. */
  drop(): void {
    this.pieces = [];
    this.events = [];
    this.eventsRead = 0;
    this.bytes = 0;
  }

  /**
   * The next message, when there is one; the last one has a `tail`.
   * @throws what the answer failed with, once everything before it was read
   */
  poll(): RunAttemptResponse | undefined {
    if (this.released && (this.bytes > 0 || this.tail !== undefined)) return this.take();
    if (this.failure !== undefined) throw this.failure;
    return undefined;
  }

  private take(): RunAttemptResponse {
    if (this.events.length > 0) return this.takeEvent();
    const { head, tail, pieces, bytes } = this;
    const data = pieces.length === 1 ? (pieces[0] ?? nothing) : Buffer.concat(pieces, bytes);
    this.drop();
    this.head = undefined;
    this.tail = undefined;
    this.taken();
    const value: WireChunk = { $typeName: "weir.chat.v1.WireChunk", data };
    if (head !== undefined) value.head = head;
    if (tail !== undefined) value.tail = tail;
    return { $typeName: "weir.routing.v1.RunAttemptResponse", payload: { case: "wire", value } };
  }

  private takeEvent(): RunAttemptResponse {
    const value = this.events[this.eventsRead] as GenerateEvent;
    this.eventsRead += 1;
    this.bytes -= eventBytes + contentBytes([value]);
    if (this.eventsRead === this.events.length) {
      this.drop();
      this.taken();
    }
    return { $typeName: "weir.routing.v1.RunAttemptResponse", payload: { case: "event", value } };
  }
}

/** What an event is taken to weigh beside its content, for the bound on what waits. */
const eventBytes = 256;
const nothing = Buffer.alloc(0);
