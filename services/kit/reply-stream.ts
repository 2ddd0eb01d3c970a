/** Where a ReplyStream gets its messages. */
export interface ReplySource<Q, T> {
  /** Begins the call; called at the first `next`. */
  begin(): void;
  /** Makes the message out of what was pushed; called when the reader takes it. */
  read(queued: Q): T;
  /** The reader waits and nothing is queued. */
  wanted?(): void;
  /** The reader stopped before the end. */
  hangUp(): void;
}

interface Reader<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const finished: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

/**
 * The caller's end of a streaming call. Unlike an async generator it can be left while a message is awaited: `return`
 * settles the pending `next` and hangs up at once. What the source pushes is queued without a bound of its own; the
 * source bounds it.
 */
export class ReplyStream<Q, T> implements AsyncGenerator<T, void, undefined> {
  private readonly source: ReplySource<Q, T>;
  private state: "new" | "open" | "ended" = "new";
  /** The reader will not read on; what the source still says is of no interest. */
  private left = false;
  private queue: Q[] = [];
  private head = 0;
  private error: Error | undefined;
  private reader: Reader<T> | undefined;
  private pending: Promise<IteratorResult<T, undefined>> | undefined;

  constructor(source: ReplySource<Q, T>) {
    this.source = source;
  }

  /** Whether the reader waits for a message now. */
  get waiting(): boolean {
    return this.reader !== undefined;
  }

  /** Gives a message to the reader, now or when it asks. */
  push(item: Q): void {
    if (this.state === "ended") return;
    const { reader } = this;
    if (reader === undefined) {
      this.queue.push(item);
      return;
    }
    this.reader = undefined;
    try {
      reader.resolve({ done: false, value: this.source.read(item) });
    } catch (thrown) {
      reader.reject(this.unreadable(thrown));
    }
  }

  /** The call ended well; what is queued is still read. */
  end(): void {
    if (this.state === "ended") return;
    this.state = "ended";
    this.take()?.resolve(finished);
  }

  /** The call failed. What is queued is still read first, unless `atOnce`. */
  fail(error: Error, atOnce = false): void {
    if (this.left || (this.state === "ended" && !atOnce)) return;
    this.state = "ended";
    if (atOnce) this.clear();
    const reader = this.take();
    if (reader !== undefined) {
      reader.reject(error);
      return;
    }
    this.error = error;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.reader !== undefined && this.pending !== undefined) {
      const again = () => this.next();
      return this.pending.then(again, again);
    }
    if (this.state === "new") {
      this.state = "open";
      this.source.begin();
    }
    if (this.head < this.queue.length) return this.shift();
    const { error } = this;
    if (error !== undefined) {
      this.error = undefined;
      return Promise.reject(error);
    }
    // Read again: `begin` may have ended the call.
    if ((this.state as string) === "ended") return Promise.resolve(finished);
    const pending = new Promise<IteratorResult<T, undefined>>((resolve, reject) => {
      this.reader = { resolve, reject };
    });
    this.pending = pending;
    this.source.wanted?.();
    return pending;
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    const { state } = this;
    this.close(undefined);
    this.take()?.resolve(finished);
    if (state === "open") this.source.hangUp();
    return Promise.resolve(finished);
  }

  throw(error: Error): Promise<IteratorResult<T, undefined>> {
    void this.return();
    return Promise.reject(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private shift(): Promise<IteratorResult<T, undefined>> {
    const item = this.queue[this.head] as Q;
    this.head += 1;
    if (this.head === this.queue.length) {
      this.queue.length = 0;
      this.head = 0;
    } else if (this.head >= 1024) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    try {
      return Promise.resolve({ done: false, value: this.source.read(item) });
    } catch (thrown) {
      return Promise.reject(this.unreadable(thrown));
    }
  }

  private unreadable(thrown: unknown): Error {
    const error = thrown instanceof Error ? thrown : new Error("a message could not be read", { cause: thrown });
    this.close(error);
    return error;
  }

  private take(): Reader<T> | undefined {
    const { reader } = this;
    this.reader = undefined;
    return reader;
  }

  private clear(): void {
    this.queue = [];
    this.head = 0;
  }

  /** Ends the stream from the reader's side; with an error, also hangs up. */
  private close(error: Error | undefined): void {
    const { state } = this;
    this.state = "ended";
    this.left = true;
    this.error = undefined;
    this.clear();
    if (error !== undefined && state === "open") this.source.hangUp();
  }
}
