import type { DescMethod } from "@bufbuild/protobuf";
import type { End, Headers, Hello } from "@weir/gen/weir/link/v1/link_service_pb";
import type { Metadata } from "../call.ts";
import type { TlsOptions } from "../grpc/credentials.ts";
import { methodPath } from "../context.ts";
import type { Clock } from "../clock.ts";
import type { Endpoint } from "./address.ts";
import type { ClientCall } from "./client-call.ts";
import { LinkFault } from "./fault.ts";
import { type FrameReader, linkVersion, readFrames } from "./frame.ts";
import { Keepalive } from "./keepalive.ts";
import { MessageSplitter } from "./message-splitter.ts";
import { OpenedStream } from "./opened-stream.ts";
import { Outbox } from "./outbox.ts";
import { batchBytesMax, type LinkSettings, unreadBytesMax } from "./settings.ts";

export interface ClientLinkOptions {
  readonly endpoint: Endpoint;
  readonly tls: TlsOptions | undefined;
  /** The service that is reached at the endpoint. */
  readonly peerName: string;
  readonly name: string;
  readonly messageBytesMax: number;
  readonly link: LinkSettings;
  readonly clock: Clock;
  /** Time for a connection and the server's hello. */
  readonly connectTimeoutMs: number;
  readonly onReady: () => void;
  /** The server asked for no new calls. */
  readonly onDraining: () => void;
  /** The link has ended; `why` is for logs, undefined after a drain or `close`. Its calls have failed already. */
  readonly onClosed: (why: string | undefined) => void;
}

/** The calling side of one link. Once closed it stays closed. */
export class Link implements FrameReader {
  readonly outbox: Outbox;
  state: "connecting" | "ready" | "draining" | "closed" = "connecting";
  /** Largest request that the server accepts. */
  requestBytesMax = 0;
  /** What each call that sends a stream may send without being granted more, in bytes. */
  requestCredit = 0;
  private readonly options: ClientLinkOptions;
  private readonly calls = new Map<number, ClientCall>();
  private readonly stream: OpenedStream;
  private readonly splitter = new MessageSplitter(batchBytesMax, (message) => this.read(message));
  private readonly keepalive: Keepalive;
  private readonly cancelConnectTimer: () => void;
  private callsMax = 0;
  private lastCall = 0;

  constructor(options: ClientLinkOptions) {
    this.options = options;
    this.stream = new OpenedStream({
      endpoint: options.endpoint,
      tls: options.tls,
      peerName: options.peerName,
      onBytes: (bytes) => this.receive(bytes),
      onDrain: () => this.outbox.drained(),
      onClosed: (why) => this.shut(why ?? (this.state === "draining" ? undefined : "the server closed the link")),
    });
    this.outbox = new Outbox({ write: (batch) => this.stream.write(batch) });
    this.keepalive = new Keepalive({
      clock: options.clock,
      intervalMs: options.link.pingIntervalMs,
      ask: () => {
        this.outbox.batch.frame(0, { case: "ping", value: 1 });
        this.outbox.touch();
      },
      dead: () => this.shut("the server does not answer"),
    });
    this.cancelConnectTimer = options.clock.after(options.connectTimeoutMs, () =>
      this.shut("the server did not answer in time"),
    );
    this.outbox.batch.frame(0, {
      case: "hello",
      value: { version: linkVersion, messageBytesMax: options.messageBytesMax, peer: options.name },
    });
    this.outbox.touch();
  }

  get openCalls(): number {
    return this.calls.size;
  }

  /** Whether one more call may begin. */
  get hasRoom(): boolean {
    return (
      this.state === "ready" &&
      this.calls.size < this.callsMax &&
      this.outbox.waitingBytes <= this.options.link.bufferedBytesMax
    );
  }

  /** Announces a call; its request follows. @returns the call's number @throws WeirError when the metadata is too large */
  begin(
    call: ClientCall,
    method: DescMethod,
    credit: number,
    timeoutMs: number | undefined,
    metadata: Metadata | undefined,
  ): number {
    this.lastCall += 1;
    const id = this.lastCall;
    this.outbox.batch.start(id, methodName(method), credit, timeoutMs, metadata);
    this.calls.set(id, call);
    // Numbers are used once; a link that has used all of them makes room for a new one.
    if (id === 0xffff_ffff) this.retire();
    return id;
  }

  /** Forgets a call; `cancel` also tells the server. */
  leave(id: number, cancel: boolean): void {
    if (!this.calls.delete(id)) return;
    if (cancel) {
      this.outbox.batch.frame(id, { case: "cancel", value: {} });
      this.outbox.touch();
    }
    this.endWhenDrained();
  }

  /** Breaks the link; open calls fail. */
  close(): void {
    this.shut(undefined);
  }

  /** No new calls; closes when the open ones have ended. */
  retire(): void {
    if (this.state !== "ready" && this.state !== "connecting") return;
    const connecting = this.state === "connecting";
    this.state = "draining";
    if (connecting) {
      this.shut(undefined);
      return;
    }
    this.options.onDraining();
    this.endWhenDrained();
  }

  private endWhenDrained(): void {
    // Half-closes only after all that was said has left, so that the server sees every cancel.
    if (this.state === "draining" && this.calls.size === 0) this.outbox.finish(() => this.stream.end());
  }

  private receive(bytes: Buffer): void {
    if (this.state === "closed") return;
    this.keepalive.heard();
    try {
      this.splitter.write(bytes);
      // Its own frames are bounded by `hasRoom`; what the server makes it answer is not.
      if (this.outbox.batch.length > this.options.link.bufferedBytesMax + unreadBytesMax) {
        throw new LinkFault("it sends and does not read");
      }
    } catch (thrown) {
      this.shut(thrown instanceof LinkFault ? `the server broke a rule: ${thrown.message}` : "the link failed");
    }
  }

  private read(message: Buffer): void {
    // A call's own functions may have closed the link in the middle of what came.
    if (this.state !== "closed") readFrames(message, this);
  }

  private shut(why: string | undefined): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.cancelConnectTimer();
    this.keepalive.stop();
    this.outbox.close();
    this.stream.destroy();
    for (const call of this.calls.values()) call.broken();
    this.calls.clear();
    this.options.onClosed(why);
  }

  hello(hello: Hello): void {
    if (this.state !== "connecting") throw new LinkFault("a second hello");
    if (hello.version !== linkVersion) throw new LinkFault(`it speaks version ${hello.version}`);
    this.cancelConnectTimer();
    this.requestBytesMax = hello.messageBytesMax;
    this.requestCredit = hello.requestCredit;
    this.callsMax = hello.callsMax;
    this.state = "ready";
    this.options.onReady();
  }

  headers(id: number, headers: Headers): void {
    this.find(id)?.headers(headers);
  }

  part(id: number, bytes: Buffer, start: number, end: number, more: boolean): void {
    this.find(id)?.part(bytes, start, end, more);
  }

  end(id: number, end: End | undefined): void {
    this.find(id)?.end(end);
    this.leave(id, false);
  }

  ping(number: number): void {
    this.outbox.batch.frame(0, { case: "pong", value: number });
    this.outbox.touch();
  }

  pong(): void {}

  drain(): void {
    this.retire();
  }

  start(): void {
    throw new LinkFault("a frame that only the client sends");
  }

  cancel(): void {
    throw new LinkFault("a frame that only the client sends");
  }

  credit(id: number, bytes: number): void {
    this.find(id)?.granted(bytes);
  }

  finish(): void {
    throw new LinkFault("a frame that only the client sends");
  }

  /** A call that is open; undefined for one that has ended. */
  private find(id: number): ClientCall | undefined {
    const call = this.calls.get(id);
    if (call === undefined && id > this.lastCall) throw new LinkFault("a frame of a call that was not started");
    return call;
  }
}

const methodNames = new Map<DescMethod, Uint8Array>();

/** A method's full name as it travels; as many are kept as there are methods. */
function methodName(method: DescMethod): Uint8Array {
  let name = methodNames.get(method);
  if (name === undefined) {
    name = Buffer.from(methodPath(method));
    methodNames.set(method, name);
  }
  return name;
}
