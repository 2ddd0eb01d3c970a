import { decode } from "../codec.ts";
import { checkMessageExtent } from "../message-extent.ts";
import { type ReplySource, ReplyStream } from "../reply-stream.ts";
import { type ServedMethod, unreadableRequest } from "../serving.ts";
import { toWeirError, WeirError } from "../weir-error.ts";

export interface PlainRequestsOptions {
  readonly method: ServedMethod;
  /** Checks a message by the rules of its schema. @throws WeirError */
  readonly check: (message: object) => void;
  /** A message is none, or breaks a rule; ends the call. */
  readonly onFailed: (error: WeirError) => void;
  /** A message was taken. */
  readonly onTaken: () => void;
}

/** Messages that are read ahead of a handler. */
const queuedMax = 16;

/** The messages that a client streams in one call, for its handler. Decoded when they are taken. */
export class PlainRequests implements ReplySource<object> {
  readonly stream = new ReplyStream<object>(this);
  private readonly options: PlainRequestsOptions;
  private readonly queue: Buffer[] = [];
  private left = false;

  constructor(options: PlainRequestsOptions) {
    this.options = options;
  }

  /** Whether the client has to wait until more are taken. */
  get isFull(): boolean {
    return this.queue.length >= queuedMax;
  }

  get isEmpty(): boolean {
    return this.queue.length === 0;
  }

  push(message: Buffer): void {
    if (this.left) return;
    this.queue.push(message);
    this.stream.ready();
  }

  begin(): void {}

  poll(): object | undefined {
    const bytes = this.queue.shift();
    if (bytes === undefined) return undefined;
    const { method, check, onFailed, onTaken } = this.options;
    onTaken();
    let message: object;
    try {
      checkMessageExtent(method.desc.input, bytes);
      message = decode(method.desc.input, bytes);
    } catch (thrown) {
      onFailed(thrown instanceof WeirError ? thrown : unreadableRequest(method));
      return undefined;
    }
    try {
      check(message);
      return message;
    } catch (thrown) {
      onFailed(toWeirError(thrown));
      return undefined;
    }
  }

  hangUp(): void {
    this.left = true;
    this.queue.length = 0;
  }
}
