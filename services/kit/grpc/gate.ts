import type { ContextValues } from "@connectrpc/connect";
import {
  Metadata as GrpcMetadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerOptions,
} from "@grpc/grpc-js";
import type { Metadata } from "../call.ts";
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

/** What stands between a gRPC port and callers that are not of the mesh. */
export interface Gate {
  /**
   * Lets a call in before any of its message is read, or refuses it.
   * @returns what the call's handler finds in the `values` of its context; of the metadata it finds nothing
   * @throws WeirError
   */
  readonly admit: (call: GateCall) => ContextValues | Promise<ContextValues>;
  /** Calls that one connection may have open. More wait at the client, which knows the number. */
  readonly callsPerConnectionMax: number;
  /** Time for the whole of a request to come, in milliseconds; where the request is a stream, there is no such limit. */
  readonly receiveTimeoutMs: number;
  /** How long a connection may be without a call, in milliseconds. */
  readonly idleMs: number;
}

/** How often a connection is asked for a sign of life, and how long the other end may take for it. */
const keepaliveMs = 60_000;
const keepaliveTimeoutMs = 20_000;

/** The side of a gate that a server of grpc-js knows. */
export interface GateKeeper {
  readonly serverOptions: Partial<ServerOptions>;
  /** What the gate said of the call that has this very metadata. */
  valuesOf(metadata: GrpcMetadata): ContextValues | undefined;
}

export function createGateKeeper(gate: Gate, { clock, onDefect }: ServingSettings): GateKeeper {
  const admitted = new WeakMap<GrpcMetadata, ContextValues>();

  const interceptor: ServerInterceptor = ({ path: pathWithSlash, requestStream }, call) => {
    const path = pathWithSlash.slice(1);
    let cancelTimer: (() => void) | undefined;
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
            const enter = (values: ContextValues): void => {
              admitted.set(metadata, values);
              if (!requestStream) {
                cancelTimer = clock.after(gate.receiveTimeoutMs, () => refuse(deadlineExceeded()));
              }
              pass(metadata);
            };
            try {
              const address = call.getConnectionInfo().remoteAddress;
              const values = gate.admit({ path, metadata: fromGrpcMetadata(metadata), address });
              if (values instanceof Promise) values.then(enter).catch(refuse);
              else enter(values);
            } catch (thrown) {
              refuse(thrown);
            }
          },
          onReceiveHalfClose(pass) {
            cancelTimer?.();
            pass();
          },
          onCancel: () => cancelTimer?.(),
        });
      },
    });
  };

  return {
    serverOptions: {
      interceptors: [interceptor],
      "grpc.max_concurrent_streams": gate.callsPerConnectionMax,
      "grpc.max_connection_idle_ms": gate.idleMs,
      "grpc.keepalive_time_ms": keepaliveMs,
      "grpc.keepalive_timeout_ms": keepaliveTimeoutMs,
    },
    valuesOf: (metadata) => admitted.get(metadata),
  };
}

function sendRefusal(call: ServerInterceptingCallInterface, error: WeirError): void {
  const status = toStatus(error);
  const metadata = new GrpcMetadata();
  setStatusDetails(metadata, status);
  call.sendStatus({ code: status.code, details: status.message, metadata });
}
