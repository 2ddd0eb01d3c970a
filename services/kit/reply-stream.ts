import { asError } from "./weir-error.ts";

/** Where a ReplyStream gets its messages. Only `poll` may throw. */
export interface ReplySource<T> {
  /** Begins the call; called once, at the first `poll` or `next`. */
  begin(): void;
  /**
   * Gives the next message; undefined: none is there now. Whoever gave undefined says so when there is more, or no more:
   * `ready`, `end` or `fail` of the stream.
   * @throws what the stream ends with
   */
  poll(): T | undefined;
  /** The reader stopped before the end, or `poll` threw. The promise, if any, is for what was held to be given back. */
  hangUp(): Promise<void> | void;
}

interface Reader<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const finished: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });
const settled = Promise.resolve();

/**
 * The messages of an iterable, each made when it is asked for; a ReplyStream as it is. A reader that stops leaves the iterable:
 * a generator's `finally` runs, once what it awaits has settled.
 */
export function streamOf<T>(messages: AsyncIterable<T>): ReplyStream<T> {
  if (messages instanceof ReplyStream) return messages;
  let iterator: AsyncIterator<T> | undefined;
  let made: T | undefined;
  let making = false;
  const stream = new ReplyStream<T>({
    begin() {
      iterator = messages[Symbol.asyncIterator]();
    },
    poll() {
      const message = made;
      made = undefined;
      if (message !== undefined || making) return message;
      making = true;
      iterator?.next().then(
        (result) => {
          making = false;
          if (result.done === true) return stream.end();
          made = result.value;
          stream.ready();
        },
        (thrown: unknown) => stream.fail(asError(thrown)),
      );
      return undefined;
    },
    async hangUp() {
      await iterator?.return?.();
    },
  });
  return stream;
}

/**
 * The messages of one streaming call, for one reader, at either end: what clients get, and what a handler may give in place of
 * a generator.
 *
 * It can be read in two ways. As an async generator, with a promise for each message. Or by `poll`, which takes what is there
 * at once, with `onReady` to hear of more: then a message goes from one service to the next in plain calls, all the way from one
 * socket to another. Messages are only taken out when the reader asks for them, so that a slow reader holds its source back in
 * both ways.
 *
 * Unlike a generator it can be left while a message is awaited: `return` settles the pending `next` and hangs up at once.
 */
export class ReplyStream<T> implements AsyncGenerator<T, void, undefined> {
  /**
   * Called when `poll`, which had nothing to give, may have something: a message, the end or a failure; sometimes in vain. Must
   * not throw. It may be called from within anything that the reader calls, but not from within `poll`.
   */
  onReady: (() => void) | undefined;
  private readonly source: ReplySource<T>;
  /** `closing`: the source has nothing to add to what `poll` still gives. */
  private state: "new" | "open" | "closing" | "ended" = "new";
  /** How it ends; not thrown yet. */
  private error: Error | undefined;
  private polling = false;
  private waking = false;
  private reader: Reader<T> | undefined;
  private pending: Promise<IteratorResult<T, undefined>> | undefined;

  constructor(source: ReplySource<T>) {
    this.source = source;
  }

  /** Whether the reader knows all: nothing comes any more, and a failure has been thrown. */
  get ended(): boolean {
    return this.state === "ended" && this.error === undefined;
  }

  /**
   * Takes the next message. Undefined: there is none now, or no more; see `ended`. The first one begins the call.
   * @throws what the call failed with, once, when all that comes before it has been taken
   */
  poll(): T | undefined {
    if (this.state !== "ended") {
      const message = this.ask();
      if (message !== undefined) return message;
    }
    const { error } = this;
    if (error === undefined || this.state !== "ended") return undefined;
    this.error = undefined;
    throw error;
  }

  private ask(): T | undefined {
    this.polling = true;
    try {
      if (this.state === "new") {
        this.state = "open";
        this.source.begin();
      }
      // `begin` may have ended it.
      const message = this.isOver() ? undefined : this.source.poll();
      if (message === undefined && this.state === "closing") this.state = "ended";
      return message;
    } catch (thrown) {
      this.state = "ended";
      this.error = asError(thrown);
      void this.source.hangUp();
      return undefined;
    } finally {
      this.polling = false;
    }
  }

  // For the source.

  /** There may be something to poll. */
  ready(): void {
    if (this.polling) return;
    if (this.reader === undefined) this.onReady?.();
    else this.answer(this.reader);
  }

  /** As `ready`, when what runs now has come to its end: for a source that may get several messages in one go. */
  readySoon(): void {
    if (this.waking) return;
    this.waking = true;
    void settled.then(this.wake);
  }

  /** The call ended well; what there is to poll is still read. */
  end(): void {
    if (this.state === "closing" || this.state === "ended") return;
    this.state = "closing";
    this.ready();
  }

  /** The call failed. What there is to poll is still read first, unless `atOnce`. */
  fail(error: Error, atOnce = false): void {
    if (this.state === "ended" || (this.state === "closing" && !atOnce)) return;
    this.state = atOnce ? "ended" : "closing";
    this.error = error;
    this.ready();
  }

  // For readers that take promises.

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.reader !== undefined && this.pending !== undefined) {
      const again = () => this.next();
      return this.pending.then(again, again);
    }
    const pending = new Promise<IteratorResult<T, undefined>>((resolve, reject) => this.answer({ resolve, reject }));
    this.pending = pending;
    return pending;
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    const { state } = this;
    this.state = "ended";
    this.error = undefined;
    const gone = state === "open" ? this.source.hangUp() : undefined;
    this.ready();
    return gone === undefined ? Promise.resolve(finished) : gone.then(() => finished);
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

  /** Gives a reader what there is, or lets it wait. */
  private answer(reader: Reader<T>): void {
    this.reader = undefined;
    try {
      const value = this.poll();
      if (value !== undefined) reader.resolve({ done: false, value });
      else if (this.ended) reader.resolve(finished);
      else this.reader = reader;
    } catch (thrown) {
      reader.reject(asError(thrown));
    }
  }

  private readonly wake = (): void => {
    this.waking = false;
    if (!this.ended) this.ready();
  };

  /** A way to ask that outlives what the compiler knows. */
  private isOver(): boolean {
    return this.state === "ended";
  }
}
