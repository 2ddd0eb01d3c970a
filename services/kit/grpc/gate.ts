import type { IncomingHttpHeaders } from "node:http2";
import type { ContextValues } from "@connectrpc/connect";
import type { Metadata } from "../call.ts";

/** A call that has just come, of which only the metadata is known. */
export interface GateCall {
  /** `weir.chat.v1.ChatService/Generate`. */
  readonly path: string;
  /** As the client sent it, with the fields of HTTP/2 beside it; names in lower case. */
  readonly headers: IncomingHttpHeaders;
  /** The other end of its connection. */
  readonly address: string | undefined;
}

/** What a call that was let in goes on with. */
export interface Entry {
  /** What its handler finds in the `values` of its context; of the client's metadata it finds nothing. */
  readonly values: ContextValues;
  /** Metadata that the client gets before the first message; of names without `-bin`, and values that gRPC can carry. */
  readonly headers: Metadata;
  /** Asks for room for so many bytes of the call's messages. @returns false: there is none, and nothing was taken */
  take(bytes: number): boolean;
  /** Gives back some of what was taken. */
  give(bytes: number): void;
  /** The call has ended, however it did, and holds nothing any more. Called once, last. */
  over(): void;
}

/** What stands between a gRPC port and callers that are not of the mesh. */
export interface Gate {
  /** Lets a call in before any of its message is read, or refuses it. @throws WeirError */
  readonly admit: (call: GateCall) => Entry | Promise<Entry>;
  /**
   * Lets a connection in before any of its bytes are read.
   * @returns what to call when it has closed; undefined: it is cut
   */
  readonly connect: (address: string | undefined) => (() => void) | undefined;
  /** Calls that one connection may have open. More wait at the client, which knows the number. */
  readonly callsPerConnectionMax: number;
  /** Largest head of a call, in bytes as HTTP/2 counts them. */
  readonly headBytesMax: number;
  /** Time for the whole of a request to come, in milliseconds; where the request is a stream, there is no such limit. */
  readonly receiveTimeoutMs: number;
  /** How long a client may leave what it is sent unread, in milliseconds; a large message has more, by the bytes that wait. */
  readonly writeStallMs: () => number;
  /** How long a connection may be without a call, in milliseconds. */
  readonly idleMs: number;
  /** How old a connection becomes, in milliseconds, give or take a tenth; its open calls end by themselves. */
  readonly ageMs: number;
}
