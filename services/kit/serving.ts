import type { DescMethod, MessageInitShape, MessageShape, DescMessage } from "@bufbuild/protobuf";
import type { ContextValues } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { HostedService, Metadata } from "./call.ts";
import { type Clock, systemClock } from "./clock.ts";
import { CallContext, methodPath } from "./context.ts";
import { ReplyStream } from "./reply-stream.ts";
import { prepareValidation, validateRequest } from "./validation.ts";
import { asError, CallCancelled, toWeirError, WeirError } from "./weir-error.ts";

/** What every door asks of its serving side. */
export interface ServingOptions {
  /** Default: the machine's time. */
  readonly clock?: Clock | undefined;
  /** Largest message in either direction, in bytes. Default 64 MiB. */
  readonly messageBytesMax?: number | undefined;
  /**
   * Told of everything that a handler throws and that is no WeirError: the caller only sees INTERNAL. Default: a process
   * warning.
   */
  readonly onDefect?: ((defect: Defect) => void) | undefined;
}

/** Something thrown that no caller should see. */
export interface Defect {
  /** Full name of the method. */
  readonly method: string;
  readonly thrown: unknown;
}

export const messageBytesMaxDefault = 64 * 1024 * 1024;

/** The time kept back from what the other side is told, so that its answer arrives within the caller's own time. */
const answerMarginMs = 20;

/** What the other side may use of a caller's `timeoutMs`; at least 1 ms. */
export function travellingTimeoutMs(timeoutMs: number): number {
  return Math.max(1, timeoutMs - answerMarginMs);
}

type UnaryHandler = (request: object, context: CallContext) => unknown;
/** Of a method that takes a stream, `request` is the ReplyStream of its messages. */
type StreamHandler = (request: object, context: CallContext) => AsyncIterable<object>;

/** One method that can be served. */
export interface ServedMethod {
  readonly desc: DescMethod;
  /** `weir.chat.v1.ChatService/Generate`. */
  readonly path: string;
  /** How it answers. */
  readonly kind: "unary" | "stream";
  /** Whether its caller sends a stream. */
  readonly streamsRequests: boolean;
  readonly handle: UnaryHandler | StreamHandler;
  /** See HostOptions. */
  readonly trustsMesh: boolean;
  readonly settings: ServingSettings;
}

export interface ServingSettings {
  readonly clock: Clock;
  readonly messageBytesMax: number;
  readonly onDefect: (defect: Defect) => void;
}

function warnOfDefect({ method, thrown }: Defect): void {
  const kind = thrown instanceof Error ? thrown.name : typeof thrown;
  process.emitWarning(`${method} failed with ${kind}`, "WeirDefect");
}

export function servingSettings(options: ServingOptions): ServingSettings {
  return {
    clock: options.clock ?? systemClock,
    messageBytesMax: options.messageBytesMax ?? messageBytesMaxDefault,
    onDefect: options.onDefect ?? warnOfDefect,
  };
}

/** The methods that are implemented, by path; those that take a stream and give one message are left out. */
export function servedMethods(
  hosted: readonly HostedService[],
  options: ServingOptions,
): ReadonlyMap<string, ServedMethod> {
  const settings = servingSettings(options);
  const methods = new Map<string, ServedMethod>();
  for (const { service, implementation, trustsMesh } of hosted) {
    for (const desc of service.methods) {
      const handler = (implementation as Record<string, unknown>)[desc.localName];
      if (typeof handler !== "function") continue;
      if (desc.methodKind === "client_streaming") continue;
      const path = methodPath(desc);
      prepareValidation(desc.input);
      if (methods.has(path)) throw new Error(`${path} is hosted twice`);
      methods.set(path, {
        desc,
        path,
        kind: desc.methodKind === "unary" ? "unary" : "stream",
        streamsRequests: desc.methodKind === "bidi_streaming",
        handle: (handler as UnaryHandler).bind(implementation),
        trustsMesh: trustsMesh ?? false,
        settings,
      });
    }
  }
  return methods;
}

/** The answer to a call of a method that nobody serves. */
export function notServed(path: string): WeirError {
  return new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { text: `${path} is not served here.` });
}

/** The answer to a request that is larger than the side that serves it accepts. */
export function requestTooLarge(bytesMax: number): WeirError {
  return new WeirError(ErrorReason.REQUEST_TOO_LARGE, { metadata: { bytes_max: String(bytesMax) } });
}

/** The answer to bytes that are no request of the method. */
export function unreadableRequest({ desc }: ServedMethod): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text: `The request is no ${desc.input.typeName}.` });
}

/** The failure of a handler whose answer is larger than one message may be. */
export function replyTooLarge(path: string, bytesMax: number): WeirError {
  return new WeirError(ErrorReason.INTERNAL, {
    text: `An answer of ${path} is larger than one message may be.`,
    metadata: { bytes_max: String(bytesMax) },
  });
}

export function deadlineExceeded(): WeirError {
  return new WeirError(ErrorReason.DEADLINE_EXCEEDED);
}

function ignore(): void {}

/** The way back to the caller. */
export interface ReplySink {
  /**
   * Takes one message. False: no more, please, until `resume` is called.
   * @throws WeirError when the message cannot be sent; the call then fails with it
   */
  message(message: MessageInitShape<DescMessage>): boolean;
  /** The call has ended: well, or with an error. Not called after `abort`. */
  end(error: WeirError | undefined): void;
  /** The handler has run to its end, also after `abort`. Called once, last. */
  settled?(): void;
}

/** One call on the serving side, whichever door it came through. */
export class Serving {
  readonly context: CallContext;
  private readonly method: ServedMethod;
  private readonly sink: ReplySink;
  private ended = false;
  private iterator: AsyncIterator<object> | undefined;
  private closing: Promise<void> | undefined;
  /** Whether the sink takes messages. */
  private open = true;
  /** Goes on when the sink takes messages again, or the call has ended. */
  private goOn: (() => void) | undefined;
  private cancelTimer: (() => void) | undefined;
  /** What the caller sends, where that is a stream. */
  private requests: ReplyStream<object> | undefined;

  /**
   * @param timeoutMs what is left of the call's time; undefined: no deadline
   * @param values what the door found out about the call, for its handler
   */
  constructor(
    method: ServedMethod,
    protocolName: string,
    metadata: Metadata,
    timeoutMs: number | undefined,
    sink: ReplySink,
    values?: ContextValues,
  ) {
    const { clock } = method.settings;
    this.method = method;
    this.sink = sink;
    this.context = new CallContext(method.desc, protocolName, metadata, timeoutMs, clock, values);
    if (timeoutMs !== undefined) this.cancelTimer = clock.after(timeoutMs, () => this.fail(deadlineExceeded()));
  }

  /** Runs the handler. Never throws. */
  start(request: MessageShape<DescMessage>): void {
    const run = this.method.kind === "unary" ? this.runUnary(request) : this.runStream(request);
    run.catch((thrown: unknown) => this.report(thrown));
  }

  /**
   * As `start`, for a method that takes a stream.
   * @param requests checked by the door, with `check`; failed when the call is given up, left when it has ended
   */
  startStream(requests: ReplyStream<object>): void {
    if (this.ended) return;
    this.requests = requests;
    this.runStream(requests).catch((thrown: unknown) => this.report(thrown));
  }

  /** The caller is gone: nothing more is told to the sink but `settled`. */
  abort(reason: unknown = new CallCancelled()): void {
    if (this.ended) return;
    this.ended = true;
    this.release(reason);
  }

  /** Ends the call from outside the handler, with an error for the caller. */
  fail(error: WeirError): void {
    if (this.ended) return;
    this.ended = true;
    this.sink.end(error);
    this.release(error);
  }

  /** The sink takes messages again. */
  resume(): void {
    if (this.open) return;
    this.open = true;
    this.goOn?.();
  }

  /** @throws WeirError for a request that breaks a rule of its schema */
  check(request: object): void {
    const { trustsMesh, desc } = this.method;
    if (!trustsMesh || this.context.protocolName === "grpc") {
      validateRequest(desc.input, request as MessageShape<DescMessage>);
    }
  }

  private async runUnary(request: MessageShape<DescMessage>): Promise<void> {
    try {
      this.check(request);
      const reply = await (this.method.handle as UnaryHandler)(request, this.context);
      if (!this.ended) {
        this.sink.message(reply as MessageInitShape<DescMessage>);
        this.finish(undefined);
      }
    } catch (thrown) {
      this.threw(thrown);
    } finally {
      this.sink.settled?.();
    }
  }

  private async runStream(request: object): Promise<void> {
    try {
      if (this.requests === undefined) this.check(request);
      const replies = (this.method.handle as StreamHandler)(request, this.context);
      const iterator = replies[Symbol.asyncIterator]();
      this.iterator = iterator;
      if (replies instanceof ReplyStream) await this.pass(replies);
      else await this.iterate(iterator);
      this.finish(undefined);
    } catch (thrown) {
      this.threw(thrown);
    } finally {
      const closing = this.closeIterator();
      if (closing !== undefined) await closing;
      this.sink.settled?.();
    }
  }

  private async iterate(iterator: AsyncIterator<object>): Promise<void> {
    for (;;) {
      const result = await iterator.next();
      if (result.done === true) {
        this.iterator = undefined;
        return;
      }
      if (this.ended) return;
      this.give(result.value);
      if (!this.open && !this.ended) {
        await new Promise<void>((resolve) => {
          this.goOn = resolve;
        });
      }
      if (this.ended) return;
    }
  }

  /** Hands messages on as soon as they are there, without a promise for each. Resolves when the stream or the call has ended. */
  private pass(replies: ReplyStream<object>): Promise<void> {
    return new Promise((resolve) => {
      let passing = false;
      this.goOn = replies.onReady = () => {
        // What the sink does with a message may ask for the next one.
        if (passing) return;
        passing = true;
        try {
          while (this.open && !this.ended) {
            const message = replies.poll();
            if (message === undefined || this.ended) break;
            this.give(message);
          }
          if (replies.ended) this.iterator = undefined;
          if (replies.ended || this.ended) resolve();
        } catch (thrown) {
          this.threw(thrown);
          resolve();
        } finally {
          passing = false;
        }
      };
      this.goOn();
    });
  }

  private give(message: object): void {
    // Closed before, since the sink may `resume` while it takes the message.
    this.open = false;
    if (this.sink.message(message as MessageInitShape<DescMessage>)) this.open = true;
  }

  /** Leaves what the handler gave, a generator by its `finally`; does nothing when it has ended by itself. */
  private closeIterator(): Promise<void> | undefined {
    const { iterator } = this;
    if (iterator?.return === undefined) return this.closing;
    this.iterator = undefined;
    // The call's outcome is decided; what a handler throws while it is closed changes nothing.
    this.closing = iterator.return().then(ignore, ignore);
    return this.closing;
  }

  private threw(thrown: unknown): void {
    if (this.ended) return;
    const error = toWeirError(thrown);
    if (error !== thrown && error.reason === ErrorReason.INTERNAL) {
      this.report(thrown);
    }
    this.finish(error);
  }

  private report(thrown: unknown): void {
    try {
      this.method.settings.onDefect({ method: this.method.path, thrown });
    } catch {
      // A defect in the telling of defects has nobody left to be told to.
    }
  }

  private finish(error: WeirError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.sink.end(error);
    this.cancelTimer?.();
    this.context.complete();
    void this.requests?.return();
  }

  private release(reason: unknown): void {
    this.cancelTimer?.();
    this.context.abort(reason);
    this.requests?.fail(asError(reason), true);
    this.goOn?.();
    void this.closeIterator();
  }
}
