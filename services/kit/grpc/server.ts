import { rm } from "node:fs/promises";
import { connect } from "node:net";
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata as GrpcMetadata,
  Server,
  type ServerDuplexStream,
  type ServerWritableStream,
} from "@grpc/grpc-js";
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ServerReflection } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import type { HostedService } from "../call.ts";
import { decode, encode } from "../codec.ts";
import { noMetadata } from "../context.ts";
import { joinAddress, splitAddress } from "../link/address.ts";
import { createLinkServer, linkService } from "../link/server.ts";
import { asIs, type LinkOptions, linkSettings } from "../link/settings.ts";
import { ReplyStream } from "../reply-stream.ts";
import {
  replyTooLarge,
  type ReplySink,
  type ServedMethod,
  servedMethods,
  Serving,
  type ServingOptions,
  servingSettings,
} from "../serving.ts";
import { toStatus } from "../status.ts";
import { toWeirError, WeirError } from "../weir-error.ts";
import { refusal, serverCredentials, type ServerTlsOptions, standingOf } from "./credentials.ts";
import { createGateKeeper, type Entry, type Gate } from "./gate.ts";
import { createHealth } from "./health.ts";
import { fromGrpcMetadata, setStatusDetails, toGrpcMetadata } from "./metadata.ts";
import { createReflection } from "./reflection.ts";

export interface GrpcServerOptions extends ServingOptions {
  /** Name of this process, for the logs of its peers. */
  readonly name: string;
  readonly hosted: readonly HostedService[];
  /** Undefined: without TLS. */
  readonly tls?: ServerTlsOptions | undefined;
  /** `false`: there are none, only plain gRPC. */
  readonly link?: LinkOptions | false | undefined;
  /** Makes it a door for callers that are not of the mesh. Undefined: whoever connects may call. */
  readonly gate?: Gate | undefined;
}

/** One port: links, plain gRPC, health and reflection. */
export interface GrpcServer {
  /**
   * @param address `host:port`, where port 0 means any free one, or, without a gate, `unix:/path`
   * @returns the address with the port in it
   */
  listen(address: string): Promise<string>;
  /**
   * Takes no new connections, asks the peers to go elsewhere, and waits for the open calls. What is still open when the
   * time has passed is broken.
   */
  drain(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
  status(): { readonly links: number; readonly calls: number };
}

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const settings = servingSettings(options);
  const health = createHealth(options.hosted.map(({ service }) => service.typeName));
  const methods = servedMethods([...options.hosted, health.hosted], options);
  const links =
    options.link === false
      ? undefined
      : createLinkServer({
          methods,
          serving: settings,
          link: linkSettings(options.link ?? {}),
          name: options.name,
          standing: (call) => standingOf(options.tls, call),
        });
  const gateKeeper = options.gate === undefined ? undefined : createGateKeeper(options.gate, settings);
  const server = new Server({
    "grpc.max_receive_message_length": settings.messageBytesMax,
    "grpc.max_send_message_length": -1,
    "grpc.enable_channelz": 0,
    "grpc.max_concurrent_streams": 10_000,
    "grpc-node.flow_control_window": 4 * 1024 * 1024,
    ...gateKeeper?.serverOptions,
  });
  let openCalls = 0;
  const count = (change: 1 | -1) => {
    openCalls += change;
  };

  if (links !== undefined) server.addService(linkService, { open: links.open });
  const host: Host = { tls: options.tls, count, entryOf: (metadata) => gateKeeper?.entryOf(metadata) };
  for (const method of methods.values()) addMethod(server, method, host);
  const reflection = createReflection([
    ...options.hosted.map(({ service }) => service),
    health.hosted.service,
    ServerReflection,
  ]);
  const reflectionPath = `/${ServerReflection.typeName}/${ServerReflection.method.serverReflectionInfo.name}`;
  server.addService(
    { reflect: { ...linkService.open, path: reflectionPath } },
    { reflect: admitted(options.tls, reflectionPath.slice(1), reflection) as handleBidiStreamingCall<Buffer, Buffer> },
  );

  return {
    async listen(address) {
      if (gateKeeper !== undefined) {
        const injector = server.createConnectionInjector(serverCredentials(options.tls));
        return gateKeeper.listen(address, (socket) => injector.injectConnection(socket));
      }
      if (address.startsWith("unix:")) await removeDeadSocket(address.slice("unix:".length));
      return new Promise((resolve, reject) => {
        server.bindAsync(address, serverCredentials(options.tls), (error, port) => {
          if (error !== null) reject(error);
          else resolve(address.startsWith("unix:") ? address : boundAddress(address, port));
        });
      });
    },
    async drain(timeoutMs) {
      health.shutdown();
      gateKeeper?.stopListening();
      links?.drain();
      await new Promise<void>((resolve) => {
        const cancel = settings.clock.after(timeoutMs, resolve);
        const done = (): void => {
          cancel();
          resolve();
        };
        // A server that was given its connections does not wait for them.
        server.tryShutdown(() => {
          if (gateKeeper === undefined) done();
          else gateKeeper.whenEmpty(done);
        });
      });
      links?.close();
      server.forceShutdown();
      gateKeeper?.close();
    },
    async close() {
      health.shutdown();
      links?.close();
      server.forceShutdown();
      gateKeeper?.close();
    },
    status() {
      const linked = links?.status();
      return { links: linked?.links ?? 0, calls: (linked?.calls ?? 0) + openCalls };
    },
  };
}

/** A process that was killed leaves its socket behind: a file that nobody answers on, and that cannot be bound to. */
async function removeDeadSocket(path: string): Promise<void> {
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
  if (isDead) await rm(path, { force: true });
}

function boundAddress(address: string, port: number): string {
  return joinAddress(splitAddress(address).host, port);
}

type StreamHandler = handleServerStreamingCall<Buffer, Buffer> | handleBidiStreamingCall<Buffer, Buffer>;

/** What the methods of one port share. */
interface Host {
  readonly tls: ServerTlsOptions | undefined;
  readonly count: (change: 1 | -1) => void;
  /** What the gate said of the call with this metadata; undefined where there is no gate. */
  readonly entryOf: (metadata: GrpcMetadata) => Entry | undefined;
}

/** A streaming handler that first looks at who calls. */
function admitted(tls: ServerTlsOptions | undefined, path: string, handler: StreamHandler): StreamHandler {
  return (call: Parameters<StreamHandler>[0]) => {
    const refused = refusal(tls, call, path);
    if (refused === undefined) handler(call as never);
    else call.emit("error", refused);
  };
}

function addMethod(server: Server, method: ServedMethod, host: Host): void {
  const { tls } = host;
  const definition = {
    path: `/${method.path}`,
    requestStream: method.streamsRequests,
    responseStream: method.kind === "stream",
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  } as const;
  const unary: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const refused = refusal(tls, call, method.path);
    if (refused !== undefined) return callback(refused);
    let bytes: Buffer | undefined;
    serve(method, call, host, {
      message: (encoded) => {
        bytes = encoded;
        return true;
      },
      end: (failure, trailers) => {
        if (failure === undefined) callback(null, bytes, trailers);
        else callback({ ...failure, metadata: trailers });
      },
    });
  };
  const stream: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    const serving = serve(method, call, host, {
      message: (encoded) => call.write(encoded),
      end: (failure, trailers) => {
        if (failure === undefined) call.end(trailers);
        else call.emit("error", { ...failure, metadata: trailers });
      },
    });
    call.on("drain", () => serving.resume());
    call.on("error", () => undefined);
  };
  server.addService(
    { [method.path]: definition },
    { [method.path]: method.kind === "unary" ? unary : admitted(tls, method.path, stream as StreamHandler) },
  );
}

interface GrpcReply {
  message(bytes: Buffer): boolean;
  end(failure: { readonly code: number; readonly details: string } | undefined, trailers: GrpcMetadata): void;
}

type IncomingCall = Pick<
  ServerWritableStream<Buffer, Buffer>,
  "request" | "metadata" | "getDeadline" | "sendMetadata"
> & { on(event: "cancelled", listener: () => void): unknown };

function serve(method: ServedMethod, call: IncomingCall, { count, entryOf }: Host, reply: GrpcReply): Serving {
  const { messageBytesMax } = method.settings;
  let headersSent = false;
  const sendHeaders = (): void => {
    if (headersSent) return;
    headersSent = true;
    const metadata = serving.context.responseMetadata();
    const ofHandler = metadata === noMetadata ? undefined : toGrpcMetadata(metadata);
    if (entry === undefined) {
      if (ofHandler !== undefined) call.sendMetadata(ofHandler);
      return;
    }
    if (ofHandler !== undefined) entry.headers.merge(ofHandler);
    call.sendMetadata(entry.headers);
  };
  const sink: ReplySink = {
    message(message: MessageInitShape<DescMessage>) {
      const encoded = encode(method.desc.output, message);
      if (encoded.length > messageBytesMax) throw replyTooLarge(method.path, messageBytesMax);
      const bytes = Buffer.allocUnsafe(encoded.length);
      encoded.copyTo(bytes, 0);
      sendHeaders();
      return reply.message(bytes);
    },
    end(failure) {
      let error = failure;
      let trailers = new GrpcMetadata();
      try {
        sendHeaders();
        trailers = toGrpcMetadata(serving.context.trailingMetadata());
      } catch (thrown) {
        // Metadata that gRPC cannot carry.
        method.settings.onDefect({ method: method.path, thrown });
        error ??= new WeirError(ErrorReason.INTERNAL);
      }
      if (error === undefined) {
        reply.end(undefined, trailers);
      } else {
        const status = toStatus(error);
        setStatusDetails(trailers, status);
        reply.end({ code: status.code, details: status.message }, trailers);
      }
    },
    settled: () => count(-1),
  };
  const deadline = Number(call.getDeadline());
  const timeoutMs = Number.isFinite(deadline) ? Math.max(1, deadline - Date.now()) : undefined;
  const entry = entryOf(call.metadata);
  // What came from outside the mesh was for the gate, and nobody behind it reads it again.
  const metadata = entry === undefined ? fromGrpcMetadata(call.metadata) : noMetadata;
  const serving = new Serving(method, "grpc", metadata, timeoutMs, sink, entry?.values);
  call.on("cancelled", () => serving.abort());
  if (method.streamsRequests) {
    count(1);
    serving.startStream(requestsOf(call as unknown as ServerDuplexStream<Buffer, Buffer>, method, serving));
    return serving;
  }
  let request: MessageShape<DescMessage>;
  try {
    request = decode(method.desc.input, call.request);
  } catch {
    serving.fail(unreadable(method));
    return serving;
  }
  count(1);
  serving.start(request);
  return serving;
}

function unreadable({ desc }: ServedMethod): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text: `The request is no ${desc.input.typeName}.` });
}

/** Messages that are read ahead of a handler. */
const queuedMax = 16;

/**
 * Whether a stream was reset rather than half-closed; grpc-js tells both as its end, and that it was cancelled at some time after.
 * Only the stream of HTTP/2 under it knows at once.
 */
function wasReset(call: object): boolean {
  const { rstCode = 0 } = http2StreamOf(call) ?? {};
  return rstCode !== 0;
}

function http2StreamOf(call: object): { readonly rstCode?: number } | undefined {
  let layer: UnderCall | undefined = call;
  for (let depth = 0; layer !== undefined && depth < 8; depth += 1) {
    if (layer.stream !== undefined) return layer.stream;
    layer = layer.call ?? layer.nextCall;
  }
  return undefined;
}

/** What lies under a call of grpc-js: interceptors, then the stream. */
interface UnderCall {
  readonly call?: UnderCall;
  readonly nextCall?: UnderCall;
  readonly stream?: { readonly rstCode?: number };
}

/** What a caller streams, read from its connection as the handler reads. */
function requestsOf(
  call: ServerDuplexStream<Buffer, Buffer>,
  method: ServedMethod,
  serving: Serving,
): ReplyStream<object> {
  const queue: Buffer[] = [];
  let left = false;
  const requests = new ReplyStream<object>({
    begin: () => undefined,
    poll() {
      const bytes = queue.shift();
      if (bytes === undefined) return undefined;
      if (queue.length < queuedMax) call.resume();
      let message: object;
      try {
        message = decode(method.desc.input, bytes);
      } catch {
        serving.fail(unreadable(method));
        return undefined;
      }
      try {
        serving.check(message);
        return message;
      } catch (thrown) {
        serving.fail(toWeirError(thrown));
        return undefined;
      }
    },
    hangUp() {
      left = true;
      queue.length = 0;
      call.pause();
    },
  });
  call.on("data", (bytes: Buffer) => {
    if (left) return;
    queue.push(bytes);
    if (queue.length >= queuedMax) call.pause();
    requests.ready();
  });
  // A stream that was reset, by its caller or at its deadline, ends first; that it was given up is told only then.
  const settle = (): void => {
    if (Date.now() < Number(call.getDeadline()) && !wasReset(call)) requests.end();
  };
  call.on("end", () => setImmediate(settle));
  return requests;
}
