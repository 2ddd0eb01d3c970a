import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { CallOptions, Door, HostedService, Metadata, Outgoing } from "./call.ts";
import { methodPath, noMetadata } from "./context.ts";
import { LocalRequests } from "./local-requests.ts";
import { ReplyStream, streamOf } from "./reply-stream.ts";
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

  function streaming<O extends DescMessage>(
    method: DescMethod & { readonly output: O },
    request: Outgoing,
    callOptions: CallOptions,
  ): ReplyStream<MessageShape<O>> {
    const reply = new ReplyStream<MessageShape<O>>({
      begin: () => call.begin(),
      poll: () => call.take() as MessageShape<O> | undefined,
      hangUp: () => call.giveUp(new CallCancelled()),
    });
    const call = new LocalCall(methods, method, request, callOptions, {
      message: () => reply.ready(),
      end: () => reply.end(),
      fail: (error, atOnce) => reply.fail(error, atOnce),
    });
    return reply;
  }

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
    ) => streaming(method, request, callOptions),
    duplex: <I extends DescMessage, O extends DescMessage>(
      method: DescMethodBiDiStreaming<I, O>,
      requests: AsyncIterable<MessageInitShape<I>>,
      callOptions: CallOptions,
    ) => streaming(method, streamOf<MessageInitShape<DescMessage>>(requests), callOptions),
  };
}

interface Caller {
  /** A unary call's reply, or word that `take` has a message. */
  readonly message: (message: object) => void;
  readonly end: () => void;
  readonly fail: (error: Error, atOnce: boolean) => void;
}

/** One call from both ends: the sink of the handler, and what the caller's signal tells. */
class LocalCall {
  private readonly methods: ReadonlyMap<string, ServedMethod>;
  private readonly desc: DescMethod;
  /** The message, or the ReplyStream of those that the method takes. */
  private readonly request: Outgoing;
  private readonly options: CallOptions;
  private readonly caller: Caller;
  private serving: Serving | undefined;
  private bytesMax = 0;
  /** What the caller has not got yet: at most one message. */
  private reply: object | undefined;
  private headersTold = false;
  private over = false;

  constructor(
    methods: ReadonlyMap<string, ServedMethod>,
    desc: DescMethod,
    request: Outgoing,
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
    let request: MessageShape<DescMessage> | ReplyStream<MessageInitShape<DescMessage>>;
    try {
      request = this.request instanceof ReplyStream ? this.request : this.outgoing(this.request);
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
    if (request instanceof ReplyStream) this.serving.startStream(this.readable(request, this.serving));
    else this.serving.start(request);
  }

  /** A message of the caller, made whole. @throws WeirError when it is too large */
  private outgoing(init: MessageInitShape<DescMessage>): MessageShape<DescMessage> {
    const message = whole(this.desc.input, init);
    if (isLarger(this.desc.input, message, this.bytesMax)) throw requestTooLarge(this.bytesMax);
    return message;
  }

  /** The caller's messages, for the handler. */
  private readable(requests: ReplyStream<MessageInitShape<DescMessage>>, serving: Serving): ReplyStream<object> {
    const admit = (init: MessageInitShape<DescMessage>): object | undefined => {
      let message: object;
      try {
        message = this.outgoing(init);
      } catch (thrown) {
        this.giveUp(toWeirError(thrown));
        return undefined;
      }
      try {
        serving.check(message);
        return message;
      } catch (thrown) {
        serving.fail(toWeirError(thrown));
        return undefined;
      }
    };
    return new LocalRequests(requests, admit, (error) => this.giveUp(error)).stream;
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

  /** The next message of a stream. The handler makes it only now. */
  take(): object | undefined {
    if (this.reply === undefined) this.serving?.resume();
    const { reply } = this;
    this.reply = undefined;
    return reply;
  }

  message(init: MessageInitShape<DescMessage>): boolean {
    const message = whole(this.desc.output, init);
    if (isLarger(this.desc.output, message, this.bytesMax)) {
      throw replyTooLarge(methodPath(this.desc), this.bytesMax);
    }
    this.tellHeaders();
    if (this.over) return true;
    this.reply = message;
    // The promise of a unary call is settled by `end`, when the trailers have been told.
    if (this.desc.methodKind === "unary") return true;
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
      if (this.reply !== undefined && this.desc.methodKind === "unary") this.caller.message(this.reply);
      this.caller.end();
    }
  }

  private leave(): void {
    this.over = true;
    this.options.signal?.removeEventListener("abort", this);
    if (!(this.request instanceof ReplyStream)) return;
    // What the handler reads ends by the call's end, not by the caller's stream being left.
    this.request.onReady = undefined;
    void this.request.return();
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
