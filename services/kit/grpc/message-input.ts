import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { LinkFault } from "../link/fault.ts";
import { MessageSplitter } from "../link/message-splitter.ts";
import { requestTooLarge } from "../serving.ts";
import { WeirError } from "../weir-error.ts";
import { type Packing, unknownPacking, unpack, type UnpackLimits } from "./unpack.ts";

export interface MessageInputOptions extends UnpackLimits {
  /** What messages may be compressed by; undefined: nothing. */
  readonly packing: Packing | undefined;
  readonly onMessage: (message: Buffer) => void;
  /** Called after a message was unpacked: `isBusy` may have changed. */
  readonly onUnpacked: () => void;
  /** All messages are there, and the caller sends no more. */
  readonly onEnd: () => void;
  /** Bytes that are no messages, or too many; nothing comes after it. */
  readonly onFault: (error: WeirError) => void;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly isPacked: boolean;
}

/** What a caller sends: the messages in the bytes of its stream, unpacked, in their order. */
export class MessageInput {
  private readonly options: MessageInputOptions;
  private readonly splitter: MessageSplitter;
  /** Behind the one that is being unpacked. */
  private readonly waiting: Waiting[] = [];
  private unpacking = false;
  private ended = false;
  private failed = false;

  constructor(options: MessageInputOptions) {
    this.options = options;
    this.splitter = new MessageSplitter(
      options.bytesMax,
      (bytes, isPacked) => {
        if (!isPacked && !this.unpacking) this.give(bytes);
        else this.unpackInTurn({ bytes, isPacked });
      },
      options.packing !== undefined,
    );
  }

  /** Whether more bytes would only wait. */
  get isBusy(): boolean {
    return this.unpacking;
  }

  /** Whether nothing is kept of what came. */
  get isEmpty(): boolean {
    return !this.unpacking && this.splitter.isBetween;
  }

  write(chunk: Buffer): void {
    if (this.failed) return;
    try {
      this.splitter.write(chunk);
    } catch (thrown) {
      if (!(thrown instanceof LinkFault)) throw thrown;
      this.fail(thrown.code === Code.ResourceExhausted ? requestTooLarge(this.options.bytesMax) : unknownPacking());
    }
  }

  end(): void {
    this.ended = true;
    if (this.unpacking || this.failed) return;
    if (this.splitter.isBetween) this.options.onEnd();
    else this.fail(new WeirError(ErrorReason.INVALID_REQUEST, { text: "A message breaks off." }));
  }

  private give(message: Buffer): void {
    if (!this.failed) this.options.onMessage(message);
  }

  private fail(error: WeirError): void {
    if (this.failed) return;
    this.failed = true;
    this.waiting.length = 0;
    this.options.onFault(error);
  }

  private unpackInTurn(message: Waiting): void {
    this.waiting.push(message);
    if (!this.unpacking) this.proceed();
  }

  private proceed(): void {
    const next = this.waiting.shift();
    if (next === undefined) {
      if (this.ended) this.end();
      return;
    }
    const { packing } = this.options;
    if (!next.isPacked || packing === undefined) {
      this.give(next.bytes);
      this.proceed();
      return;
    }
    this.unpacking = true;
    unpack(packing, next.bytes, this.options, (outcome) => {
      this.unpacking = false;
      if (outcome instanceof WeirError) return this.fail(outcome);
      this.give(outcome);
      this.proceed();
      this.options.onUnpacked();
    });
  }
}
