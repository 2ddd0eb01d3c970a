import type { DescMessage } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { decode } from "../codec.ts";
import { type ReplySource, ReplyStream } from "../reply-stream.ts";
import { WeirError } from "../weir-error.ts";
import { LinkFault } from "./fault.ts";
import type { Inflow } from "./inflow.ts";

export interface ServedRequestsOptions {
  readonly input: DescMessage;
  readonly inflow: Inflow;
  /** Says to the client that it may send more. */
  readonly grant: (bytes: number) => void;
  /** Checks a message by the rules of its schema. @throws WeirError */
  readonly check: (message: object) => void;
  /** A message is none, or breaks a rule; ends the call. */
  readonly onFailed: (error: unknown) => void;
}

/** The messages that a client sends in one call, for its handler. Decoded when they are taken, and taking them gives credit. */
export class ServedRequests implements ReplySource<object> {
  readonly stream = new ReplyStream<object>(this);
  private readonly options: ServedRequestsOptions;
  /** What came and was not taken; the credit bounds it. */
  private readonly queue: Buffer[] = [];
  private finished = false;
  private left = false;

  constructor(options: ServedRequestsOptions) {
    this.options = options;
  }

  /** Bytes of the message that is not complete. */
  get partsBytes(): number {
    return this.options.inflow.partsBytes;
  }

  /** A part came. @throws LinkFault when it may not come */
  part(bytes: Buffer, start: number, end: number, more: boolean): void {
    if (this.finished) throw new LinkFault("a part after the last one");
    const { inflow } = this.options;
    const message = inflow.part(bytes, start, end, more);
    if (message !== undefined && !this.left) {
      this.queue.push(message);
      // A batch may hold more of this call, and the handler is not to run inside the link.
      this.stream.readySoon();
    }
    this.grant();
  }

  /** No more will come. */
  finish(): void {
    if (this.finished) throw new LinkFault("a second finish");
    if (this.options.inflow.partsBytes > 0) throw new LinkFault("a stream of requests ended inside a message");
    this.finished = true;
    this.stream.end();
  }

  begin(): void {}

  poll(): object | undefined {
    const bytes = this.queue.shift();
    if (bytes === undefined) return undefined;
    const { input, inflow, check, onFailed } = this.options;
    inflow.consumed(bytes.length);
    this.grant();
    try {
      const message = read(input, bytes);
      check(message);
      return message;
    } catch (thrown) {
      onFailed(thrown);
      return undefined;
    }
  }

  /** The handler reads no more; what still comes is dropped, and no more is asked for. */
  hangUp(): void {
    this.left = true;
    this.queue.length = 0;
  }

  private grant(): void {
    if (this.left || this.finished) return;
    const due = this.options.inflow.takeDue();
    if (due > 0) this.options.grant(due);
  }
}

function read(input: DescMessage, bytes: Buffer): object {
  try {
    return decode(input, bytes);
  } catch {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: `The request is no ${input.typeName}.` });
  }
}
