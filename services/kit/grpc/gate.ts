import { type AddressInfo, createServer, type Socket } from "node:net";
import type { ContextValues } from "@connectrpc/connect";
import {
  Metadata as GrpcMetadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerOptions,
} from "@grpc/grpc-js";
import type { Metadata } from "../call.ts";
import { joinAddress, splitAddress } from "../link/address.ts";
import { deadlineExceeded, type ServingSettings } from "../serving.ts";
import { toStatus } from "../status.ts";
import { toWeirError, type WeirError } from "../weir-error.ts";
import { fromGrpcMetadata, setStatusDetails } from "./metadata.ts";

/** A call that has just come, of which only the metadata is known. */
export interface GateCall {
  /** `weir.chat.v1.ChatService/Generate`. */
  readonly path: string;
  /** As the client sent it. */
  readonly metadata: Metadata;
  /** The other end of its connection. */
  readonly address: string | undefined;
}

/** What a call that was let in goes on with. */
export interface Entry {
  /** What its handler finds in the `values` of its context; of the client's metadata it finds nothing. */
  readonly values: ContextValues;
  /** Metadata that the client gets before the first message. */
  readonly headers: GrpcMetadata;
}

/** What stands between a gRPC port and callers that are not of the mesh. */
export interface Gate {
  /** Lets a call in before any of its message is read, or refuses it. @throws WeirError */
  readonly admit: (call: GateCall) => Entry | Promise<Entry>;
  /** A call that was let in has ended, however it did. Called once for each. */
  readonly over: (entry: Entry) => void;
  /**
   * Lets a connection in before any of its bytes are read.
   * @returns what to call when it has closed; undefined: it is cut
   */
  readonly connect: (address: string | undefined) => (() => void) | undefined;
  /** Calls that one connection may have open. More wait at the client, which knows the number. */
  readonly callsPerConnectionMax: number;
  /** Time for the whole of a request to come, in milliseconds; where the request is a stream, there is no such limit. */
  readonly receiveTimeoutMs: number;
  /** How long a connection may be without a call, in milliseconds. */
  readonly idleMs: number;
}

/** Where an entry is kept between the gate and the handler: a WeakMap would cost the garbage collector more than all the rest. */
const entryKey = Symbol("entry");
type Entered = GrpcMetadata & { [entryKey]?: Entry };

/** How often a connection is asked for a sign of life, and how long the other end may take for it. */
const keepaliveMs = 60_000;
const keepaliveTimeoutMs = 20_000;

/** The side of a gate that a server of grpc-js knows. */
export interface GateKeeper {
  readonly serverOptions: Partial<ServerOptions>;
  /** What the gate said of the call that has this very metadata. */
  entryOf(metadata: GrpcMetadata): Entry | undefined;
  /**
   * Opens the port, in the server's place, which has no bound for its connections.
   * @param address `host:port`
   * @param inject gives the server a connection
   * @returns the address with the true port
   */
  listen(address: string, inject: (socket: Socket) => void): Promise<string>;
  stopListening(): void;
  /** Calls back once, when no connection is left. */
  whenEmpty(callback: () => void): void;
  /** Cuts every connection. */
  close(): void;
}

export function createGateKeeper(gate: Gate, { clock, onDefect }: ServingSettings): GateKeeper {
  const interceptor: ServerInterceptor = ({ path: pathWithSlash, requestStream }, call) => {
    const path = pathWithSlash.slice(1);
    let cancelTimer: (() => void) | undefined;
    let known: Entry | undefined;
    let isOver = false;
    const refuse = (thrown: unknown): void => {
      cancelTimer?.();
      const error = toWeirError(thrown);
      if (error !== thrown) onDefect({ method: path, thrown });
      sendRefusal(call, error);
    };
    return new ServerInterceptingCall(call, {
      start(next) {
        next({
          onReceiveMetadata(metadata, pass) {
            const enter = (entry: Entry): void => {
              if (isOver) return gate.over(entry);
              known = entry;
              (metadata as Entered)[entryKey] = entry;
              if (!requestStream) {
                cancelTimer = clock.after(gate.receiveTimeoutMs, () => refuse(deadlineExceeded()));
              }
              pass(metadata);
            };
            try {
              const address = call.getConnectionInfo().remoteAddress;
              const entry = gate.admit({ path, metadata: fromGrpcMetadata(metadata), address });
              if (entry instanceof Promise) entry.then(enter).catch(refuse);
              else enter(entry);
            } catch (thrown) {
              refuse(thrown);
            }
          },
          onReceiveHalfClose(pass) {
            cancelTimer?.();
            pass();
          },
          // Comes at the end of every call.
          onCancel() {
            isOver = true;
            cancelTimer?.();
            if (known !== undefined) gate.over(known);
          },
        });
      },
    });
  };

  const sockets = new Set<Socket>();
  const waiting: (() => void)[] = [];
  let injectSocket: (socket: Socket) => void = () => undefined;
  const port = createServer((socket) => {
    const closed = gate.connect(socket.remoteAddress);
    if (closed === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => {
      sockets.delete(socket);
      closed();
      if (sockets.size === 0) for (const tell of waiting.splice(0)) tell();
    });
    // Of those that nothing listens to: before HTTP/2 has begun, and after it has ended.
    socket.on("error", () => socket.destroy());
    injectSocket(socket);
  });

  return {
    listen: (address, inject) =>
      new Promise((resolve, reject) => {
        const { host, port: number } = splitAddress(address);
        injectSocket = inject;
        port.once("error", reject);
        port.listen({ host, port: number, backlog: 2_048 }, () => {
          port.off("error", reject);
          resolve(joinAddress(host, (port.address() as AddressInfo).port));
        });
      }),
    stopListening() {
      if (port.listening) port.close();
    },
    whenEmpty(callback) {
      if (sockets.size === 0) callback();
      else waiting.push(callback);
    },
    close() {
      if (port.listening) port.close();
      for (const socket of sockets) socket.destroy();
    },
    serverOptions: {
      interceptors: [interceptor],
      "grpc.max_concurrent_streams": gate.callsPerConnectionMax,
      "grpc.max_connection_idle_ms": gate.idleMs,
      "grpc.keepalive_time_ms": keepaliveMs,
      "grpc.keepalive_timeout_ms": keepaliveTimeoutMs,
    },
    entryOf: (metadata: Entered) => metadata[entryKey],
  };
}

function sendRefusal(call: ServerInterceptingCallInterface, error: WeirError): void {
  const status = toStatus(error);
  const metadata = new GrpcMetadata();
  setStatusDetails(metadata, status);
  call.sendStatus({ code: status.code, details: status.message, metadata });
}
