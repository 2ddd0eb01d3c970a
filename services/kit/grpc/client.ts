import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type Metadata as GrpcMetadata,
  type ServiceError,
} from "@grpc/grpc-js";
import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { CallOptions, Door, Outgoing } from "../call.ts";
import { decode, encodeToBytes } from "../codec.ts";
import { methodPath, noMetadata } from "../context.ts";
import { isNamed, splitAddress } from "../link/address.ts";
import { asIs } from "../link/settings.ts";
import { ReplyStream, streamOf } from "../reply-stream.ts";
import { RequestPump } from "../request-pump.ts";
import { deadlineExceeded, messageBytesMaxDefault, requestTooLarge, travellingTimeoutMs } from "../serving.ts";
import { fromStatus } from "../status.ts";
import { CallCancelled, toWeirError, type WeirError } from "../weir-error.ts";
import { channelIdentity, type TlsOptions } from "./credentials.ts";
import { fromGrpcMetadata, getStatusDetails, toGrpcMetadata } from "./metadata.ts";

export interface GrpcDoorOptions {
  /** `host:port`, `[v6]:port` or `unix:/path`; calls go round all records of a DNS name. */
  readonly address: string;
  /** Undefined: without TLS. */
  readonly tls?: TlsOptions | undefined;
  /** Largest message in either direction, in bytes. Default 64 MiB. */
  readonly messageBytesMax?: number | undefined;
}

/**
 * A door over plain gRPC. Unlike the other doors it may lose the last messages of a stream that fails: grpc-js drops what
 * it has received and not handed over when a failed status arrives.
 */
export interface GrpcDoor extends Door {
  /** Lets the open calls end. */
  close(): void;
}

/** Messages that are read ahead of the reader. */
const queuedMax = 16;

export function createGrpcDoor(options: GrpcDoorOptions): GrpcDoor {
  const messageBytesMax = options.messageBytesMax ?? messageBytesMaxDefault;
  const { address, tls } = options;
  const identity = channelIdentity(tls, address.startsWith("unix:") ? "localhost" : splitAddress(address).host);
  const client = new Client(targetOf(address), identity.credentials, {
    ...identity.options,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_send_message_length": -1,
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.min_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 5000,
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });

  function streaming<O extends DescMessage>(
    method: DescMethod & { readonly output: O },
    request: Outgoing,
    callOptions: CallOptions,
  ): ReplyStream<MessageShape<O>> {
    const queue: Buffer[] = [];
    const reply = new ReplyStream<MessageShape<O>>({
      begin: () => call.begin(),
      poll() {
        const bytes = queue.shift();
        if (bytes === undefined) return undefined;
        call.taken();
        return decode(method.output, bytes);
      },
      hangUp: () => call.giveUp(new CallCancelled()),
    });
    const call = new GrpcCall(client, method, request, callOptions, messageBytesMax, {
      message(bytes) {
        queue.push(bytes);
        reply.ready();
      },
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
        new GrpcCall(client, method, request, callOptions, messageBytesMax, {
          message: (bytes) => {
            try {
              resolve(decode(method.output, bytes));
            } catch (thrown) {
              reject(toWeirError(thrown));
            }
          },
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
    close: () => client.close(),
  };
}

function targetOf(address: string): string {
  if (address.startsWith("unix:")) return address;
  const { host, port } = splitAddress(address);
  if (isNamed(address)) return `dns:${host}:${port}`;
  return host.includes(":") ? `ipv6:[${host}]:${port}` : `ipv4:${host}:${port}`;
}

interface Caller {
  readonly message: (bytes: Buffer) => void;
  readonly end: () => void;
  readonly fail: (error: Error, atOnce: boolean) => void;
}

class GrpcCall {
  private readonly client: Client;
  private readonly desc: DescMethod;
  /** The message, or the ReplyStream of those that the method takes. */
  private readonly request: Outgoing;
  private readonly options: CallOptions;
  private readonly messageBytesMax: number;
  private readonly caller: Caller;
  private call: ClientUnaryCall | ClientReadableStream<Buffer> | undefined;
  private pump: RequestPump<MessageInitShape<DescMessage>> | undefined;
  private error: ServiceError | undefined;
  private trailers: GrpcMetadata | undefined;
  private reply: Buffer | undefined;
  private queued = 0;
  private headersTold = false;
  private over = false;

  constructor(
    client: Client,
    desc: DescMethod,
    request: Outgoing,
    options: CallOptions,
    messageBytesMax: number,
    caller: Caller,
  ) {
    this.client = client;
    this.desc = desc;
    this.request = request;
    this.options = options;
    this.messageBytesMax = messageBytesMax;
    this.caller = caller;
  }

  begin(): void {
    const { signal, timeoutMs, metadata } = this.options;
    if (signal?.aborted) return this.giveUp(new CallCancelled());
    if (timeoutMs !== undefined && timeoutMs <= 0) return this.giveUp(deadlineExceeded());
    try {
      const request = this.request instanceof ReplyStream ? this.request : this.encoded(this.request);
      const deadline = timeoutMs === undefined ? {} : { deadline: Date.now() + travellingTimeoutMs(timeoutMs) };
      const path = `/${methodPath(this.desc)}`;
      const sent = toGrpcMetadata(metadata ?? {});
      signal?.addEventListener("abort", this, { once: true });
      if (request instanceof ReplyStream) this.duplex(path, request, sent, deadline);
      else if (this.desc.methodKind === "unary") this.call = this.unary(path, request, sent, deadline);
      else this.call = this.heard(this.client.makeServerStreamRequest(path, asIs, asIs, request, sent, deadline));
    } catch (thrown) {
      this.giveUp(toWeirError(thrown));
    }
  }

  /** The caller's signal fired. */
  handleEvent(): void {
    this.giveUp(new CallCancelled());
  }

  giveUp(error: Error): void {
    if (this.over) return;
    this.leave();
    this.call?.cancel();
    this.caller.fail(error, true);
  }

  /** The reader took a message. */
  taken(): void {
    this.queued -= 1;
    if (this.queued < queuedMax && this.call !== undefined && "resume" in this.call) this.call.resume();
  }

  private unary(path: string, request: Buffer, sent: GrpcMetadata, deadline: { deadline?: number }): ClientUnaryCall {
    const call = this.client.makeUnaryRequest(path, asIs, asIs, request, sent, deadline, (error, reply) => {
      if (error !== null) {
        this.failed(error);
        return;
      }
      this.reply = reply;
      // `status` with the trailers comes after this.
    });
    call.on("metadata", (headers: GrpcMetadata) => this.tellHeaders(headers));
    call.on("status", ({ metadata }: { metadata: GrpcMetadata }) => {
      this.trailers = metadata;
      this.ended();
    });
    return call;
  }

  private encoded(message: MessageInitShape<DescMessage>): Buffer {
    const bytes = encodeToBytes(this.desc.input, message);
    if (bytes.length > this.messageBytesMax) throw requestTooLarge(this.messageBytesMax);
    return bytes;
  }

  private duplex(
    path: string,
    requests: ReplyStream<MessageInitShape<DescMessage>>,
    sent: GrpcMetadata,
    deadline: { deadline?: number },
  ): void {
    const call = this.client.makeBidiStreamRequest(path, asIs, asIs, sent, deadline);
    this.call = this.heard(call);
    const pump = new RequestPump(requests, {
      message: (message) => call.write(this.encoded(message)),
      finish: () => call.end(),
      fail: (error) => this.giveUp(error),
    });
    this.pump = pump;
    call.on("drain", () => pump.resume());
    pump.start();
  }

  /** Listens to the replies of a call. */
  private heard<C extends ClientReadableStream<Buffer> | ClientDuplexStream<Buffer, Buffer>>(call: C): C {
    call.on("metadata", (headers: GrpcMetadata) => this.tellHeaders(headers));
    call.on("data", (bytes: Buffer) => {
      this.tellHeaders(undefined);
      this.queued += 1;
      if (this.queued >= queuedMax) call.pause();
      this.caller.message(bytes);
    });
    // What was sent before the error is still read; `end` comes after it.
    call.on("error", (error: ServiceError) => {
      this.error = error;
    });
    call.on("status", ({ metadata }: { metadata: GrpcMetadata }) => {
      this.trailers = metadata;
    });
    call.on("end", () => {
      if (this.error === undefined) this.ended();
      else this.failed(this.error);
    });
    return call;
  }

  private ended(): void {
    this.tellHeaders(undefined);
    if (this.trailers !== undefined) this.tell(this.options.onTrailers, this.trailers);
    if (this.over) return;
    this.leave();
    if (this.reply !== undefined) this.caller.message(this.reply);
    this.caller.end();
  }

  private failed(error: ServiceError): void {
    if (this.over) return;
    this.leave();
    this.caller.fail(fromServiceError(error), false);
  }

  private leave(): void {
    this.over = true;
    this.options.signal?.removeEventListener("abort", this);
    if (this.pump !== undefined) this.pump.stop();
    else if (this.request instanceof ReplyStream) void this.request.return();
  }

  private tellHeaders(headers: GrpcMetadata | undefined): void {
    if (this.headersTold) return;
    this.headersTold = true;
    this.tell(this.options.onHeaders, headers);
  }

  /** What the caller's own function throws fails its call. */
  private tell(callback: CallOptions["onHeaders"], metadata: GrpcMetadata | undefined): void {
    try {
      callback?.(metadata === undefined ? noMetadata : fromGrpcMetadata(metadata));
    } catch (thrown) {
      this.giveUp(toWeirError(thrown));
    }
  }
}

function fromServiceError({ code, details, metadata }: ServiceError): WeirError {
  return fromStatus({ code, message: details, details: metadata === undefined ? [] : getStatusDetails(metadata) });
}
