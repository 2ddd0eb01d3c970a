import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { type ContextValues, createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { Metadata } from "./call.ts";
import type { Clock } from "./clock.ts";

/** Why the signal of a call that ended by itself fired. */
const completed = new DOMException("the call has ended", "AbortError");

/**
 * What a handler knows of its call, behind every door. What most handlers never look at (headers, signal, values) is
 * built when it is first asked for.
 *
 * The signal fires when the caller gives up, when the deadline passes, when the way to the caller breaks, and also, as
 * Connect's contract has it, when the call has ended by itself. So it releases what the call holds; nothing that must
 * happen afterwards (billing) may hang on it.
 */
export class CallContext implements HandlerContext {
  readonly service: DescService;
  readonly method: DescMethod;
  readonly protocolName: string;
  readonly requestMethod = "POST";
  /** The request's metadata, without building a Headers object. Read it with `requestMetadata` of call.ts. */
  readonly requestMetadata: Metadata;
  private readonly clock: Clock;
  private readonly deadline: number | undefined;
  private controller: AbortController | undefined;
  private reason: unknown;
  private ended = false;
  private endCallbacks: (() => void)[] | undefined;
  private requestHeaders: Headers | undefined;
  private responseHeaders: Headers | undefined;
  private responseTrailers: Headers | undefined;
  private contextValues: ContextValues | undefined;

  /**
   * @param timeoutMs what is left of the call's time; undefined: no deadline
   * @param values default: empty
   */
  constructor(
    method: DescMethod,
    protocolName: string,
    metadata: Metadata,
    timeoutMs: number | undefined,
    clock: Clock,
    values?: ContextValues,
  ) {
    this.service = method.parent;
    this.method = method;
    this.protocolName = protocolName;
    this.requestMetadata = metadata;
    this.clock = clock;
    this.contextValues = values;
    this.deadline = timeoutMs === undefined ? undefined : clock.monotonic() + timeoutMs;
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.ended) this.controller.abort(this.reason);
    }
    return this.controller.signal;
  }

  /** Fires the signal, once; later calls do nothing. */
  abort(reason: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.reason = reason;
    this.controller?.abort(reason);
    const callbacks = this.endCallbacks;
    this.endCallbacks = undefined;
    if (callbacks !== undefined) for (const callback of callbacks) callback();
  }

  /** Whether the signal has fired, without building it. */
  get isEnded(): boolean {
    return this.ended;
  }

  /** As a listener on the signal, for a tenth of the cost. `callback` must not throw. */
  onEnd(callback: () => void): void {
    if (this.ended) callback();
    else (this.endCallbacks ??= []).push(callback);
  }

  /** The call has ended by itself. */
  complete(): void {
    this.abort(completed);
  }

  readonly timeoutMs = (): number | undefined =>
    this.deadline === undefined ? undefined : Math.max(0, this.deadline - this.clock.monotonic());

  get requestHeader(): Headers {
    this.requestHeaders ??= new Headers(this.requestMetadata);
    return this.requestHeaders;
  }

  get responseHeader(): Headers {
    this.responseHeaders ??= new Headers();
    return this.responseHeaders;
  }

  get responseTrailer(): Headers {
    this.responseTrailers ??= new Headers();
    return this.responseTrailers;
  }

  get values(): ContextValues {
    this.contextValues ??= createContextValues();
    return this.contextValues;
  }

  get url(): string {
    return `${this.protocolName}:///${methodPath(this.method)}`;
  }

  /** What the handler put into `responseHeader`. */
  responseMetadata(): Metadata {
    return this.responseHeaders === undefined ? noMetadata : Object.fromEntries(this.responseHeaders);
  }

  /** What the handler put into `responseTrailer`. */
  trailingMetadata(): Metadata {
    return this.responseTrailers === undefined ? noMetadata : Object.fromEntries(this.responseTrailers);
  }
}

/** The one empty Metadata; compare with it to see cheaply that there is none. */
export const noMetadata: Metadata = Object.freeze({});

/** Full name of a method as gRPC writes it, without the leading slash: `weir.chat.v1.ChatService/Generate`. */
export function methodPath(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}
