import type { ServerHttp2Stream } from "node:http2";
import type { Code } from "@connectrpc/connect";
import { addStatus } from "../grpc/http-fields.ts";

/** Who listens to a ServedStream. Nothing is told after `onGone`. */
export interface ServedStreamListener {
  /** Takes the stream's bytes as they come. */
  readonly onBytes: (bytes: Buffer) => void;
  /** The client has said its last word. */
  readonly onEnd: () => void;
  /** The client has gone, or the stream has ended. */
  readonly onGone: () => void;
}

/**
 * The gRPC stream under a link, from the side that serves it, on node:http2.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export class ServedStream {
  private readonly stream: ServerHttp2Stream;
  private readonly trailers: Record<string, string> = { "grpc-status": "0" };

  constructor(stream: ServerHttp2Stream) {
    this.stream = stream;
    // Whoever broke it off is told by `aborted` and `close`.
    stream.on("error", () => undefined);
    stream.on("wantTrailers", () => stream.sendTrailers(this.trailers));
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-accept-encoding": "identity" },
      { waitForTrailers: true },
    );
  }

  listen({ onBytes, onEnd, onGone }: ServedStreamListener): void {
    const { stream } = this;
    stream.on("data", onBytes);
    stream.on("end", () => {
      if (!stream.aborted) onEnd();
    });
    stream.on("aborted", onGone);
    stream.on("close", onGone);
  }

  /** @param message with its prefix @param written called when it has left */
  write(message: Buffer, written: () => void): void {
    this.stream.write(message, written);
  }

  /** Nothing more will be written. */
  end(): void {
    this.stream.end();
  }

  /** Ends the stream with a status. */
  fail(code: Code, text: string): void {
    addStatus(this.trailers, { code, message: text, details: [] });
    this.end();
    // What the client still sends is thrown away.
    this.stream.resume();
  }
}
