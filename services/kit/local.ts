import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { CallOptions, Door, HostedService, Metadata } from "./call.ts";
import { methodPath, noMetadata } from "./context.ts";
import { type ReplySource, ReplyStream } from "./reply-stream.ts";
import {
  deadlineExceeded,
  notServed,
  replyTooLarge,
  requestTooLarge,
  type ServedMethod,
  servedMethods,
  Serving,
  type ServingOptions,
  travellingTimeoutMs,
} from "./serving.ts";
import { sizeBound } from "./size-bound.ts";
import { CallCancelled, toWeirError, type WeirError } from "./weir-error.ts";

/**
 * The way to services of the same process: implementations are called directly and messages are handed over as they are,
 * not copied, so neither side changes a message after it has passed it on. Deadlines, cancellation, limits, validation
 * and errors are those of the network.
 */
export function createLocalDoor(hosted: readonly HostedService[], options: ServingOptions = {}): Door {
  const methods = servedMethods(hosted, options);
  return {
    unary: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      request: MessageInitShape<I>,
      callOptions: CallOptions,
    ) =>
      new Promise<MessageShape<O>>((resolve, reject) => {
        new LocalCall(methods, method, request, callOptions, {
          message: resolve as (message: object) => void,
          end: () => undefined,
          fail: reject,
        }).begin();
      }),
    stream: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodServerStreaming<I, O>,
      request: MessageInitShape<I>,
      callOptions: CallOptions,
    ) => {
      const source: ReplySource<object, MessageShape<O>> = {
        begin: () => call.begin(),
        read: (message) => message as MessageShape<O>,
        wanted: () => call.wanted(),
        hangUp: () => call.giveUp(new CallCancelled()),
      };
      const reply = new ReplyStream<object, MessageShape<O>>(source);
      const call = new LocalCall(methods, method, request, callOptions, {
        message: (message) => reply.push(message),
        end: () => reply.end(),
        fail: (error, atOnce) => reply.fail(error, atOnce),
      });
      return reply;
    },
  };
}

interface Caller {
  readonly message: (message: object) => void;
  readonly end: () => void;
  readonly fail: (error: Error, atOnce: boolean) => void;
}

/** One call from both ends: the sink of the handler, and what the caller's signal tells. */
class LocalCall {
  private readonly methods: ReadonlyMap<string, ServedMethod>;
  private readonly desc: DescMethod;
  private readonly request: MessageInitShape<DescMessage>;
  private readonly options: CallOptions;
  private readonly caller: Caller;
  private serving: Serving | undefined;
  private bytesMax = 0;
  private reply: object | undefined;
  private headersTold = false;
  private over = false;

  constructor(
    methods: ReadonlyMap<string, ServedMethod>,
    desc: DescMethod,
    request: MessageInitShape<DescMessage>,
    options: CallOptions,
    caller: Caller,
  ) {
    this.methods = methods;
    this.desc = desc;
    this.request = request;
    this.options = options;
    this.caller = caller;
  }

  begin(): void {
    const { signal, timeoutMs, metadata } = this.options;
    if (signal?.aborted) return this.giveUp(new CallCancelled());
    if (timeoutMs !== undefined && timeoutMs <= 0) return this.giveUp(deadlineExceeded());
    const method = this.methods.get(methodPath(this.desc));
    if (method === undefined) return this.giveUp(notServed(methodPath(this.desc)));
    this.bytesMax = method.settings.messageBytesMax;
    let request: MessageShape<DescMessage>;
    try {
      request = whole(this.desc.input, this.request);
      if (isLarger(this.desc.input, request, this.bytesMax)) throw requestTooLarge(this.bytesMax);
    } catch (thrown) {
      return this.giveUp(toWeirError(thrown));
    }
    signal?.addEventListener("abort", this, once);
    this.serving = new Serving(
      method,
      "local",
      metadata ?? noMetadata,
      timeoutMs === undefined ? undefined : travellingTimeoutMs(timeoutMs),
      this,
    );
    this.serving.start(request);
  }

  /** The caller's signal fired. */
  handleEvent(): void {
    this.giveUp(new CallCancelled());
  }

  giveUp(error: Error): void {
    if (this.over) return;
    this.leave();
    this.caller.fail(error, true);
    this.serving?.abort(error);
  }

  /** The reader waits. */
  wanted(): void {
    this.serving?.resume();
  }

  message(init: MessageInitShape<DescMessage>): boolean {
    const message = whole(this.desc.output, init);
    if (isLarger(this.desc.output, message, this.bytesMax)) {
      throw replyTooLarge(methodPath(this.desc), this.bytesMax);
    }
    this.tellHeaders();
    if (this.over) return true;
    if (this.desc.methodKind === "unary") {
      // The promise is settled by `end`, when the trailers have been told.
      this.reply = message;
      return true;
    }
    this.caller.message(message);
    return false;
  }

  end(error: WeirError | undefined): void {
    if (error === undefined) {
      this.tellHeaders();
      this.tell(this.options.onTrailers, this.serving?.context.trailingMetadata());
    }
    if (this.over) return;
    this.leave();
    if (error !== undefined) {
      this.caller.fail(error, false);
    } else {
      if (this.reply !== undefined) this.caller.message(this.reply);
      this.caller.end();
    }
  }

  private leave(): void {
    this.over = true;
    this.options.signal?.removeEventListener("abort", this);
  }

  private tellHeaders(): void {
    if (this.headersTold) return;
    this.headersTold = true;
    this.tell(this.options.onHeaders, this.serving?.context.responseMetadata());
  }

  /** What the caller's own function throws fails its call. */
  private tell(callback: CallOptions["onHeaders"], metadata: Metadata | undefined): void {
    try {
      callback?.(metadata ?? noMetadata);
    } catch (thrown) {
      this.giveUp(toWeirError(thrown));
    }
  }
}

const once: AddEventListenerOptions = { once: true };

/** A message made whole: itself when it is one already. */
function whole<M extends DescMessage>(schema: M, init: MessageInitShape<M>): MessageShape<M> {
  return (init as { $typeName?: string }).$typeName === schema.typeName
    ? (init as MessageShape<M>)
    : create(schema, init);
}

/** Whether the encoded message exceeds a limit; encodes it only when the cheap bound does. */
function isLarger<M extends DescMessage>(schema: M, message: MessageShape<M>, bytesMax: number): boolean {
  return sizeBound(schema, message) > bytesMax && toBinary(schema, message).length > bytesMax;
}
