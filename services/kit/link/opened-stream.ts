import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { callerTls, type TlsOptions } from "../grpc/credentials.ts";
import { type Endpoint, socketOptions } from "./address.ts";
import { isGrpc, readStatus, type StreamStatus } from "./grpc-status.ts";
import { http2WindowBytes, openPath } from "./settings.ts";

export interface OpenedStreamOptions {
  readonly endpoint: Endpoint;
  readonly tls: TlsOptions | undefined;
  /** The service that is reached at the endpoint. */
  readonly peerName: string;
  /** Takes the stream's bytes as they come. */
  readonly onBytes: (bytes: Buffer) => void;
  /** After a `write` that returned false: the stream takes more. */
  readonly onDrain: () => void;
  /**
   * The stream has ended; called once, after its last bytes, and not after `destroy`.
   * @param why for logs; undefined: the server ended it well
   */
  readonly onClosed: (why: string | undefined) => void;
}

/**
 * The gRPC stream under a link, from the side that opens it, on an HTTP/2 connection of its own. What is written before
 * there is a connection goes out when there is one.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export class OpenedStream {
  private readonly options: OpenedStreamOptions;
  private readonly socket: Socket;
  private readonly session: ClientHttp2Session;
  private readonly stream: ClientHttp2Stream;
  private status: StreamStatus | undefined;
  private closed = false;

  constructor(options: OpenedStreamOptions) {
    this.options = options;
    const { endpoint, tls } = options;
    const place = socketOptions(endpoint.address);
    this.socket =
      tls === undefined
        ? connectSocket(place)
        : connectTls({ ...place, ...callerTls(tls, endpoint.host, options.peerName) });
    this.session = connectHttp2("http://localhost", {
      createConnection: () => this.socket,
      settings: { enablePush: false, initialWindowSize: http2WindowBytes },
    });
    this.session.on("connect", () => this.session.setLocalWindowSize(http2WindowBytes));
    this.session.on("error", (error) => this.lost(error.message));
    this.session.on("close", () => this.lost("the connection was closed"));
    this.stream = this.session.request({
      ":method": "POST",
      ":scheme": tls === undefined ? "http" : "https",
      ":authority": tls?.serverName ?? endpoint.authority,
      ":path": openPath,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-accept-encoding": "identity",
    });
    this.stream.on("response", (headers) => {
      this.status = readStatus(headers);
      if (this.status === undefined && !isGrpc(headers))
        this.finish(`it answered with HTTP status ${headers[":status"]}`);
    });
    this.stream.on("trailers", (trailers) => {
      this.status = readStatus(trailers);
    });
    this.stream.on("data", (bytes: Buffer) => {
      if (!this.closed) options.onBytes(bytes);
    });
    this.stream.on("drain", () => options.onDrain());
    // Trailers that came with the end are told after it.
    this.stream.on("end", () => setImmediate(this.ended));
    this.stream.on("close", () => setImmediate(this.ended));
    // The session or the stream's code says what went wrong.
    this.stream.on("error", () => undefined);
  }

  /** @returns false: wait for `onDrain`, please */
  write(message: Buffer): boolean {
    return this.stream.write(message);
  }

  /** Nothing more will be written. */
  end(): void {
    this.stream.end();
  }

  /** Cancels the stream and closes its connection, at once. */
  destroy(): void {
    this.closed = true;
    this.session.destroy();
    // The session would wait until what is on its way has left, which it never does when the peer has stopped reading.
    this.socket.destroy();
  }

  private readonly ended = (): void => {
    const { status } = this;
    if (status !== undefined) {
      this.finish(
        status.code === 0 ? undefined : status.message || `it ended the link with gRPC status ${status.code}`,
      );
    } else if (!this.session.destroyed) {
      const { rstCode } = this.stream;
      this.finish(
        rstCode === 0 ? "it ended the link without a status" : `it reset the link with HTTP/2 code ${rstCode}`,
      );
    }
  };

  /** The connection is gone; a status that came before says more. */
  private lost(why: string): void {
    this.ended();
    this.finish(why);
  }

  private finish(why: string | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.options.onClosed(why);
  }
}
