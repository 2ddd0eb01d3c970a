import type { ReplyStream } from "./reply-stream.ts";
import { asError } from "./weir-error.ts";

/** Where the messages of a caller's stream go. */
export interface RequestSink<T> {
  /**
   * Takes one message. False: no more, please, until `resume` is called.
   * @throws Error when it cannot be sent; `fail` is then told of it
   */
  message(message: T): boolean;
  /** There are no more. Called at most once, last. */
  finish(): void;
  /** The caller's stream failed, or a message of it cannot be sent. Called at most once, last. */
  fail(error: Error): void;
}

/** Takes the messages of a caller's stream as their way takes them, and leaves the stream when the call is over. */
export class RequestPump<T> {
  private readonly requests: ReplyStream<T>;
  private readonly sink: RequestSink<T>;
  /** Whether the sink takes messages. */
  private open = true;
  private passing = false;
  private over = false;

  constructor(requests: ReplyStream<T>, sink: RequestSink<T>) {
    this.requests = requests;
    this.sink = sink;
  }

  start(): void {
    this.requests.onReady = this.pass;
    this.pass();
  }

  /** The sink takes messages again. */
  resume(): void {
    this.open = true;
    this.pass();
  }

  /** The call has ended: what the caller has still to say is not asked for. */
  stop(): void {
    this.over = true;
    void this.requests.return();
  }

  private readonly pass = (): void => {
    // What the sink does with a message may ask for the next one.
    if (this.passing) return;
    this.passing = true;
    try {
      this.passAll();
    } catch (thrown) {
      this.stop();
      this.sink.fail(asError(thrown));
    } finally {
      this.passing = false;
    }
  };

  private passAll(): void {
    while (this.open && !this.over) {
      const message = this.requests.poll();
      if (message === undefined) break;
      // Closed before, since the sink may `resume` while it takes the message.
      this.open = false;
      if (this.sink.message(message)) this.open = true;
    }
    if (this.over || !this.requests.ended) return;
    this.over = true;
    this.sink.finish();
  }
}
