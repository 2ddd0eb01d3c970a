import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Metadata } from "../call.ts";
import { decode } from "../codec.ts";
import { checkMessageExtent } from "../message-extent.ts";
import { noMetadata } from "../context.ts";
import { prefixBytes } from "../link/message-splitter.ts";
import {
  deadlineExceeded,
  replyTooLarge,
  type ReplySink,
  type ServedMethod,
  Serving,
  unreadableRequest,
} from "../serving.ts";
import { toStatus } from "../status.ts";
import { toWeirError, WeirError } from "../weir-error.ts";
import { dismiss } from "./dismiss.ts";
import { frame } from "./frame.ts";
import type { Entry, Gate } from "./gate.ts";
import { addFields, addMetadata, addStatus, answerFields, answerHead, metadataOf, timeoutOf } from "./http-fields.ts";
import { MessageInput, type MessageTaker } from "./message-input.ts";
import { type Awaited, Patience } from "./patience.ts";
import type { Connection } from "./port.ts";
import { PlainRequests } from "./plain-requests.ts";
import type { Packing } from "./unpack.ts";

/** What the calls of one port share. */
export interface PlainHost {
  readonly gate: Gate | undefined;
  /** Calls that came to the gate, to their end. */
  readonly gated: Set<PlainCall>;
  /** Handlers that have not settled. */
  running: number;
}

/** A reply below this is not counted: the stream's own buffer holds as much. */
const smallReplyBytes = 64 * 1024;
const overloadRetryMs = 1_000;
/** What a client must read of what waits for it, beyond the first `writeStallMs`. */
const readBytesPerSecondMin = 16 * 1024;
/** A stream of requests that ends so shortly before its deadline ended for it. */
const lastMomentMs = 10;
const withTrailers = { waitForTrailers: true };
const withoutMessage = { endStream: true };

function ignore(): void {}

/** One call of plain gRPC: lets it in, gathers its request, runs it, and sends what it answers. */
export class PlainCall implements ReplySink, MessageTaker {
  private readonly host: PlainHost;
  private readonly method: ServedMethod;
  private readonly stream: ServerHttp2Stream;
  private entry: Entry | undefined;
  private serving: Serving | undefined;
  private input: MessageInput | undefined;
  /** Of a method that takes one message. */
  private request: Buffer | undefined;
  /** Of a method that takes a stream. */
  private requests: PlainRequests | undefined;
  /** Of a method that answers with one message, framed. */
  private reply: Buffer | undefined;
  private trailers: Record<string, string> = {};
  private headersSent = false;
  private isPaused = false;
  /** The caller has sent all. */
  private isReceived = false;
  /** The outcome is decided, or the caller has gone. */
  private isOver = false;
  /** There was no room for its messages. */
  private isStarved = false;
  /** What it holds of the gate's room, for requests and for replies that have not left. */
  private requestBytes = 0;
  private replyBytes = 0;
  /** Bytes of messages that were given to the stream, or wait for its end. */
  private givenBytes = 0;
  private patience: Patience | undefined;

  constructor(host: PlainHost, connection: Connection, method: ServedMethod, stream: ServerHttp2Stream) {
    this.host = host;
    this.method = method;
    this.stream = stream;
    connection.openCalls += 1;
    if (host.gate !== undefined) host.gated.add(this);
    stream.on("aborted", () => this.leave());
    stream.on("close", () => {
      connection.openCalls -= 1;
      host.gated.delete(this);
      this.leave();
      this.entry?.over();
      this.forget();
    });
    // Whoever broke it off is told by `aborted` and `close`.
    stream.on("error", ignore);
  }

  /** Asks the gate, and reads the request once it is in. */
  begin(headers: IncomingHttpHeaders, address: string | undefined, packing: Packing | undefined): void {
    const { gate } = this.host;
    try {
      const timeoutMs = timeoutOf(headers);
      if (gate === undefined) return this.serve(metadataOf(headers), timeoutMs, packing);
      const enter = (entry: Entry): void => {
        if (this.isOver) return entry.over();
        this.entry = entry;
        // What came from outside the mesh was for the gate, and nobody behind it reads it again.
        this.serve(noMetadata, timeoutMs, packing);
      };
      const entry = gate.admit({ path: this.method.path, headers, address });
      if (entry instanceof Promise) entry.then(enter).catch((thrown: unknown) => this.refuse(thrown));
      else enter(entry);
    } catch (thrown) {
      this.refuse(thrown);
    }
  }

  /** Ends the call when its client has taken too long: to send the request, or to read what it is sent. Called every few seconds. */
  look(nowMs: number): void {
    const { stream, host } = this;
    const { gate } = host;
    if (gate === undefined) return;
    const awaited = this.awaited();
    const unsent = stream.writableLength;
    const allowedMs =
      awaited === "request" ? gate.receiveTimeoutMs : gate.writeStallMs() + (unsent / readBytesPerSecondMin) * 1_000;
    this.patience ??= new Patience();
    if (!this.patience.isOver(nowMs, awaited, this.givenBytes - unsent, allowedMs)) return;
    if (awaited === "request" && !this.isOver) {
      this.serving?.fail(deadlineExceeded());
    } else {
      this.leave();
      stream.close(awaited === "request" ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
    }
  }

  private awaited(): Awaited {
    const { stream } = this;
    if (stream.writableNeedDrain || (this.isOver && stream.writableLength > 0)) return "reader";
    // A call that is over keeps its place until its client has ended its side too.
    return !this.isReceived && (this.isOver || this.requests === undefined) ? "request" : undefined;
  }

  message(message: MessageInitShape<DescMessage>): boolean {
    const { desc, path, kind, settings } = this.method;
    const framed = frame(desc.output, message);
    const length = framed.length - prefixBytes;
    if (length > settings.messageBytesMax) throw replyTooLarge(path, settings.messageBytesMax);
    this.givenBytes += framed.length;
    if (length >= smallReplyBytes && this.entry !== undefined) {
      if (!this.entry.take(length)) throw this.noRoom();
      this.replyBytes += length;
    }
    if (kind === "unary") {
      this.reply = framed;
      return true;
    }
    this.sendHeaders();
    return this.stream.write(framed);
  }

  end(error: WeirError | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    let failure = error;
    try {
      const { context } = this.serving as Serving;
      if (failure === undefined || context.responseMetadata() !== noMetadata) this.sendHeaders();
      const trailing = context.trailingMetadata();
      if (trailing !== noMetadata) addMetadata(this.trailers, trailing);
    } catch (thrown) {
      // Metadata that gRPC cannot carry.
      this.report(thrown);
      failure ??= new WeirError(ErrorReason.INTERNAL);
    }
    this.finish(failure);
  }

  settled(): void {
    this.host.running -= 1;
  }

  received(message: Buffer): void {
    if (this.requests !== undefined) this.requests.push(message);
    else if (this.request === undefined) this.request = message;
    else this.serving?.fail(new WeirError(ErrorReason.INVALID_REQUEST, { text: "There is more than one message." }));
  }

  receivedAll(): void {
    this.isReceived = true;
    if (this.isOver) return;
    const { request, serving, host, method } = this;
    if (this.requests !== undefined) {
      this.requests.stream.end();
    } else if (request === undefined) {
      serving?.fail(new WeirError(ErrorReason.INVALID_REQUEST, { text: "There is no message." }));
    } else {
      let message: MessageShape<DescMessage>;
      try {
        checkMessageExtent(method.desc.input, request);
        message = decode(method.desc.input, request);
      } catch (thrown) {
        serving?.fail(thrown instanceof WeirError ? thrown : unreadableRequest(method));
        return;
      }
      host.running += 1;
      serving?.start(message);
    }
  }

  unpacked(): void {
    this.hold();
  }

  faulty(error: WeirError): void {
    this.serving?.fail(error);
  }

  take(bytes: number): boolean {
    // Nobody counts any more what a call that is over still unpacks.
    if (this.isOver) return false;
    if (this.entry === undefined) return true;
    if (!this.entry.take(bytes)) return false;
    this.requestBytes += bytes;
    return true;
  }

  noRoom(): WeirError {
    this.isStarved = true;
    return new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: overloadRetryMs });
  }

  private serve(metadata: Metadata, timeoutMs: number | undefined, packing: Packing | undefined): void {
    const { method, host, stream, entry } = this;
    const { settings } = method;
    const serving = new Serving(method, "grpc", metadata, timeoutMs, this, entry?.values);
    this.serving = serving;
    this.input = new MessageInput(settings.messageBytesMax, packing, this);
    if (method.streamsRequests) {
      this.requests = new PlainRequests({
        method,
        check: (message) => serving.check(message),
        onFailed: (error) => serving.fail(error),
        onTaken: () => this.taken(),
      });
      host.running += 1;
      serving.startStream(this.requests.stream);
    }
    stream.on("data", (chunk: Buffer) => this.read(chunk));
    if (this.requests === undefined) stream.on("end", () => this.input?.end());
    else stream.on("end", () => setImmediate(() => this.endStream()));
  }

  private read(chunk: Buffer): void {
    if (this.isOver) return;
    if (!this.take(chunk.length)) {
      this.serving?.fail(this.noRoom());
      return;
    }
    this.input?.write(chunk);
    this.hold();
  }

  /** Lets the caller send as fast as its messages are taken. */
  private hold(): void {
    const mustWait = !this.isOver && (this.input?.isBusy === true || this.requests?.isFull === true);
    if (mustWait === this.isPaused) return;
    this.isPaused = mustWait;
    if (mustWait) this.stream.pause();
    else this.stream.resume();
  }

  /** A client that gives its stream up, or whose time is over, may end it first, and say so only with its next frame. */
  private endStream(): void {
    const leftMs = this.serving?.context.timeoutMs();
    if (!this.isOver && (leftMs === undefined || leftMs > lastMomentMs)) this.input?.end();
  }

  /** A handler took a message of the caller's stream. */
  private taken(): void {
    if (this.requests?.isEmpty === true && this.input?.isEmpty === true) {
      this.entry?.give(this.requestBytes);
      this.requestBytes = 0;
    }
    this.hold();
  }

  private drained(): void {
    this.entry?.give(this.replyBytes);
    this.replyBytes = 0;
    this.serving?.resume();
  }

  private sendHeaders(): void {
    if (this.headersSent) return;
    const { stream, serving, entry } = this;
    const head = answerHead();
    if (entry !== undefined) addFields(head, entry.headers);
    const metadata = serving?.context.responseMetadata() ?? noMetadata;
    if (metadata !== noMetadata) {
      const fields: Record<string, string> = {};
      addMetadata(fields, metadata);
      addFields(head, fields);
    }
    stream.on("wantTrailers", () => {
      stream.sendTrailers(this.trailers);
      if (!this.isReceived) dismiss(stream);
    });
    if (this.method.kind === "stream") stream.on("drain", () => this.drained());
    this.headersSent = true;
    stream.respond(head, withTrailers);
  }

  private refuse(thrown: unknown): void {
    if (this.isOver) return;
    this.isOver = true;
    const error = toWeirError(thrown);
    if (error !== thrown) this.report(thrown);
    this.finish(error);
  }

  private finish(failure: WeirError | undefined): void {
    const { stream, trailers } = this;
    if (stream.destroyed || stream.closed) return;
    if (failure === undefined) {
      trailers["grpc-status"] = "0";
    } else {
      const status = toStatus(failure);
      addStatus(trailers, this.isStarved ? { ...status, code: Code.ResourceExhausted } : status);
    }
    if (!this.headersSent) {
      const fields = answerFields();
      if (this.entry !== undefined) Object.assign(fields, this.entry.headers);
      stream.respond({ ...fields, ...trailers }, withoutMessage);
      if (!this.isReceived) dismiss(stream);
    } else if (failure === undefined && this.reply !== undefined) {
      stream.end(this.reply);
    } else {
      stream.end();
    }
    this.hold();
  }

  private leave(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.serving?.abort();
  }

  /**
   * Lets go of what the call consisted of. Its stream lives until all memory is looked through, since node:http2 holds it in a way that
   * the collector of young memory does not see through; what hangs on it would be copied, and kept as long.
   */
  private forget(): void {
    this.entry = undefined;
    this.serving = undefined;
    this.input = undefined;
    this.request = undefined;
    this.requests = undefined;
    this.reply = undefined;
  }

  private report(thrown: unknown): void {
    this.method.settings.onDefect({ method: this.method.path, thrown });
  }
}
