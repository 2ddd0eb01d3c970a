import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { type ReplySource, ReplyStream } from "./reply-stream.ts";
import { asError } from "./weir-error.ts";

/** What a handler in the caller's own process reads of the caller's messages: each is asked for when the handler asks. */
export class LocalRequests implements ReplySource<object> {
  readonly stream = new ReplyStream<object>(this);
  private readonly from: ReplyStream<MessageInitShape<DescMessage>>;
  private readonly admit: (message: MessageInitShape<DescMessage>) => object | undefined;
  private readonly failed: (error: Error) => void;

  /**
   * @param admit gives a message as the handler gets it; undefined: it ended the call
   * @param failed told when the caller's stream fails; ends the call
   */
  constructor(
    from: ReplyStream<MessageInitShape<DescMessage>>,
    admit: (message: MessageInitShape<DescMessage>) => object | undefined,
    failed: (error: Error) => void,
  ) {
    this.from = from;
    this.admit = admit;
    this.failed = failed;
  }

  begin(): void {
    this.from.onReady = () => this.stream.ready();
  }

  poll(): object | undefined {
    let message: MessageInitShape<DescMessage> | undefined;
    try {
      message = this.from.poll();
    } catch (thrown) {
      this.failed(asError(thrown));
      return undefined;
    }
    if (message !== undefined) return this.admit(message);
    if (this.from.ended) this.stream.end();
    return undefined;
  }

  /** The handler reads no more; the caller's stream is left when the call ends, as it is behind every door. */
  hangUp(): void {}
}
