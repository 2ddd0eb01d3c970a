import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { CallSignal } from "./call-signal.ts";
import type { ReplyStream } from "./reply-stream.ts";

/** Metadata of a call: lower-case names; values of names that end in `-bin` are base64. */
export type Metadata = Readonly<Record<string, string>>;

/** Names of the metadata entries that travel in the mesh. The edge removes them from what comes from outside. */
export const metadataNames = {
  /** An encoded weir.common.v1.Principal. */
  principal: "weir-principal-bin",
  /** Id of the client's request. */
  requestId: "weir-request-id",
  /** W3C trace context. */
  traceParent: "traceparent",
  traceState: "tracestate",
} as const;

/** The W3C trace context that goes with a call. https://www.w3.org/TR/trace-context-2/ */
export interface CallTrace {
  /** Undefined: there is no trace. */
  readonly traceParent: string | undefined;
  /** What tracers on the way said of theirs; read and bounded where it came in. Means nothing without `traceParent`. */
  readonly traceState: string | undefined;
}

/** The metadata of a call in the mesh; what is undefined is left out. A literal, since computed names cost microseconds. */
export function callMetadata(
  principal: string | undefined,
  requestId: string | undefined,
  trace: CallTrace | undefined,
): Metadata {
  const traceParent = trace?.traceParent;
  const traceState = trace?.traceState;
  if (principal !== undefined && requestId !== undefined) {
    if (traceParent === undefined) return { "weir-principal-bin": principal, "weir-request-id": requestId };
    if (traceState === undefined) {
      return { "weir-principal-bin": principal, "weir-request-id": requestId, traceparent: traceParent };
    }
  }
  const metadata: Record<string, string> = {};
  if (principal !== undefined) metadata[metadataNames.principal] = principal;
  if (requestId !== undefined) metadata[metadataNames.requestId] = requestId;
  if (traceParent !== undefined) metadata[metadataNames.traceParent] = traceParent;
  if (traceParent !== undefined && traceState !== undefined) metadata[metadataNames.traceState] = traceState;
  return metadata;
}

/** What a caller may say about one call. */
export interface CallOptions {
  /** Gives the call up when it fires; the other side learns within one turn of the event loop. */
  readonly signal?: CallSignal | undefined;
  /**
   * Time for the whole call, in milliseconds. When it has passed, the call fails with DEADLINE_EXCEEDED. The other
   * side is told that time less a margin to answer in.
   */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Metadata | undefined;
  /** Called once with the response's metadata, before the first message. */
  readonly onHeaders?: ((metadata: Metadata) => void) | undefined;
  /** Called once with the trailing metadata, when the call ends well. */
  readonly onTrailers?: ((metadata: Metadata) => void) | undefined;
}

/** One method of a client. */
export type ClientMethod<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => ReplyStream<MessageShape<O>>
      : M extends DescMethodBiDiStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageInitShape<I>>, options?: CallOptions) => ReplyStream<MessageShape<O>>
        : never;

/**
 * Calls of one service, the same for every door. A call fails with WeirError; a call whose signal fired, with
 * CallCancelled. A streaming call begins when its first message is asked for; leaving its loop early (`break`, `return`,
 * `throw`) cancels it. One that passes messages on at once reads them by `poll`, see ReplyStream.
 *
 * A call that takes a stream of requests asks for each as the other side reads, begins when its first reply is asked for, and
 * leaves the requests when it has ended. Requests that fail cancel the call, which then fails as they did.
 */
export type Client<S extends DescService> = { readonly [P in keyof S["method"]]: ClientMethod<S["method"][P]> };

/** The caller's end of a way to a service: local, link or plain gRPC. */
export interface Door {
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>>;
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): ReplyStream<MessageShape<O>>;
  duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    requests: AsyncIterable<MessageInitShape<I>>,
    options: CallOptions,
  ): ReplyStream<MessageShape<O>>;
}

/** What a caller sends: one message, or the stream of them that the method takes. */
export type Outgoing = MessageInitShape<DescMessage> | ReplyStream<MessageInitShape<DescMessage>>;

/** What a root may say about a service that it hosts. */
export interface HostOptions {
  /**
   * Requests that come through the local door or a link are not checked against the rules of their schema, because each of
   * their senders is a process of ours that builds them field by field. Requests over plain gRPC are checked all the same.
   * For calls on the path of every chat, where the check costs several times what the call does. Default false.
   */
  readonly trustsMesh?: boolean;
}

/** A service and what implements it: the same object at every door. */
export interface HostedService<S extends DescService = DescService> extends HostOptions {
  readonly service: S;
  readonly implementation: Partial<ServiceImpl<S>>;
}

/** Pairs a service with its implementation. Methods that are left out are answered as not served. */
export function hostService<S extends DescService>(
  service: S,
  implementation: Partial<ServiceImpl<S>>,
  options: HostOptions = {},
): HostedService {
  return { service, implementation, ...options };
}

/** A context that can be asked for one entry without building a Headers object. */
interface MetadataContext extends HandlerContext {
  readonly requestMetadata: Metadata;
}

/** Reads one entry of the request's metadata; cheap behind local and link. */
export function requestMetadata(context: HandlerContext, name: string): string | undefined {
  if ("requestMetadata" in context) return (context as MetadataContext).requestMetadata[name];
  return context.requestHeader.get(name) ?? undefined;
}

/** The trace that a call belongs to; undefined: none. */
export function requestTrace(context: HandlerContext): CallTrace | undefined {
  const traceParent = requestMetadata(context, metadataNames.traceParent);
  if (traceParent === undefined) return undefined;
  return { traceParent, traceState: requestMetadata(context, metadataNames.traceState) };
}

/** A context that tells of its end without building a signal. */
interface EndingContext extends HandlerContext {
  readonly isEnded: boolean;
  onEnd(callback: () => void): void;
}

/** Whether the call has ended, or its caller has given it up. */
export function hasEnded(context: HandlerContext): boolean {
  return "isEnded" in context ? (context as EndingContext).isEnded : context.signal.aborted;
}

/**
 * Calls back once, when the context's signal fires or has fired: at the latest when the call has ended by itself. Cheap behind local
 * and link. `callback` must not throw.
 */
export function onCallEnd(context: HandlerContext, callback: () => void): void {
  if ("onEnd" in context) (context as EndingContext).onEnd(callback);
  else if (context.signal.aborted) callback();
  else context.signal.addEventListener("abort", callback, { once: true });
}
