import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { LinkFault } from "../link/fault.ts";
import { MessageSplitter, prefixBytes } from "../link/message-splitter.ts";
import { requestTooLarge } from "../serving.ts";
import { WeirError } from "../weir-error.ts";
import { type MessageRoom, type Packing, unknownPacking, unpack } from "./unpack.ts";

/** Who takes what a MessageInput finds. */
export interface MessageTaker extends MessageRoom {
  /** The next message. */
  received(message: Buffer): void;
  /** A message was unpacked: `isBusy` may have changed. */
  unpacked(): void;
  /** All messages are there, and the caller sends no more. */
  receivedAll(): void;
  /** Bytes that are no messages, or too many; nothing comes after it. */
  faulty(error: WeirError): void;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly isPacked: boolean;
}

/** What a caller sends: the messages in the bytes of its stream, unpacked, in their order. */
export class MessageInput {
  private readonly bytesMax: number;
  private readonly packing: Packing | undefined;
  private readonly taker: MessageTaker;
  /** Made for the first bytes that are not one message. */
  private splitter: MessageSplitter | undefined;
  /** Behind the one that is being unpacked. */
  private waiting: Waiting[] | undefined;
  private unpacking = false;
  private ended = false;
  private failed = false;

  /**
   * @param bytesMax largest message, unpacked
   * @param packing what messages may be compressed by; undefined: nothing
   */
  constructor(bytesMax: number, packing: Packing | undefined, taker: MessageTaker) {
    this.bytesMax = bytesMax;
    this.packing = packing;
    this.taker = taker;
  }

  /** Whether more bytes would only wait. */
  get isBusy(): boolean {
    return this.unpacking;
  }

  /** Whether nothing is kept of what came. */
  get isEmpty(): boolean {
    return !this.unpacking && this.isBetween;
  }

  write(chunk: Buffer): void {
    if (this.failed) return;
    if (this.splitter === undefined && isOneMessage(chunk, this.bytesMax)) {
      this.give(chunk.subarray(prefixBytes));
      return;
    }
    try {
      this.splitter ??= this.createSplitter();
      this.splitter.write(chunk);
    } catch (thrown) {
      if (!(thrown instanceof LinkFault)) throw thrown;
      this.fail(thrown.code === Code.ResourceExhausted ? requestTooLarge(this.bytesMax) : unknownPacking());
    }
  }

  end(): void {
    this.ended = true;
    if (this.unpacking || this.failed) return;
    if (this.isBetween) this.taker.receivedAll();
    else this.fail(new WeirError(ErrorReason.INVALID_REQUEST, { text: "A message breaks off." }));
  }

  /** Whether no message has begun that is not whole. */
  private get isBetween(): boolean {
    return this.splitter?.isBetween ?? true;
  }

  private createSplitter(): MessageSplitter {
    const split = (bytes: Buffer, isPacked: boolean): void => {
      if (!isPacked && !this.unpacking) this.give(bytes);
      else this.unpackInTurn({ bytes, isPacked });
    };
    return new MessageSplitter(this.bytesMax, split, this.packing !== undefined);
  }

  private give(message: Buffer): void {
    if (!this.failed) this.taker.received(message);
  }

  private fail(error: WeirError): void {
    if (this.failed) return;
    this.failed = true;
    this.waiting = undefined;
    this.taker.faulty(error);
  }

  private unpackInTurn(message: Waiting): void {
    (this.waiting ??= []).push(message);
    if (!this.unpacking) this.proceed();
  }

  private proceed(): void {
    const next = this.waiting?.shift();
    if (next === undefined) {
      if (this.ended) this.end();
      return;
    }
    const { packing, bytesMax, taker } = this;
    if (!next.isPacked || packing === undefined) {
      this.give(next.bytes);
      this.proceed();
      return;
    }
    this.unpacking = true;
    unpack(packing, next.bytes, bytesMax, taker, (outcome) => {
      this.unpacking = false;
      if (outcome instanceof WeirError) return this.fail(outcome);
      this.give(outcome);
      this.proceed();
      taker.unpacked();
    });
  }
}

/** Whether bytes are one message that is not compressed, as most requests are. */
function isOneMessage(chunk: Buffer, bytesMax: number): boolean {
  const length = chunk.length - prefixBytes;
  return length >= 0 && length <= bytesMax && chunk[0] === 0 && chunk.readUInt32BE(1) === length;
}
