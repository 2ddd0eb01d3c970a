import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Hello } from "@weir/gen/weir/link/v1/link_service_pb";
import { notForThisPeer, type Standing } from "../grpc/credentials.ts";
import { notServed, type ServedMethod, type ServingSettings } from "../serving.ts";
import { WeirError } from "../weir-error.ts";
import { LinkFault } from "./fault.ts";
import { type FrameReader, linkVersion, readFrames, type StartFrame } from "./frame.ts";
import { Keepalive } from "./keepalive.ts";
import { MessageSplitter } from "./message-splitter.ts";
import { Outbox } from "./outbox.ts";
import { type CallHost, sendError, ServedCall } from "./served-call.ts";
import type { ServedStream } from "./served-stream.ts";
import { batchBytesMax, type LinkSettings, openPath, unreadBytesMax } from "./settings.ts";

export interface LinkServerOptions {
  readonly methods: ReadonlyMap<string, ServedMethod>;
  readonly serving: ServingSettings;
  readonly link: LinkSettings;
  /** Name of this process, for logs. */
  readonly name: string;
}

/** The serving side of all links to this process. */
export interface LinkServer {
  /** Takes a stream that was opened for a link, from a peer to which this side stands so. */
  open(stream: ServedStream, standing: Standing): void;
  /** Asks the clients to make no new calls and to close their links when the open calls are done. */
  drain(): void;
  /** Breaks every link. */
  close(): void;
  status(): { readonly links: number; readonly calls: number };
}

export function createLinkServer(options: LinkServerOptions): LinkServer {
  const links = new Set<ServerLink>();
  let draining = false;
  return {
    open(stream, { refused, mayCall }) {
      if (refused !== undefined) {
        stream.fail(refused.code, refused.details);
        return;
      }
      const link = new ServerLink(stream, options, mayCall, () => links.delete(link));
      links.add(link);
      if (draining) link.askToLeave();
    },
    drain() {
      draining = true;
      for (const link of links) link.askToLeave();
    },
    close() {
      for (const link of links) link.break("the server is closing");
    },
    status() {
      let calls = 0;
      for (const link of links) calls += link.calls.size;
      return { links: links.size, calls };
    },
  };
}

class ServerLink implements FrameReader, CallHost {
  readonly calls = new Map<number, ServedCall>();
  readonly outbox: Outbox;
  readonly bufferedBytesMax: number;
  readonly windowBytes: number;
  bufferedBytes = 0;
  running = 0;
  replyBytesMax = 0;
  private readonly options: LinkServerOptions;
  private readonly stream: ServedStream;
  private readonly splitter = new MessageSplitter(batchBytesMax, (message) => this.read(message));
  private readonly mayCall: Standing["mayCall"];
  private readonly onClosed: () => void;
  private readonly keepalive: Keepalive;
  private lastCall = 0;
  private greeted = false;
  private closed = false;

  constructor(stream: ServedStream, options: LinkServerOptions, mayCall: Standing["mayCall"], onClosed: () => void) {
    this.stream = stream;
    this.options = options;
    this.mayCall = mayCall;
    this.bufferedBytesMax = options.link.bufferedBytesMax;
    this.windowBytes = options.link.windowBytes;
    this.onClosed = onClosed;
    this.outbox = new Outbox({
      write: (message) => {
        stream.write(message, () => this.outbox.drained());
        return false;
      },
    });
    this.keepalive = new Keepalive({
      clock: options.serving.clock,
      intervalMs: options.link.pingIntervalMs,
      ask: () => {
        this.outbox.batch.frame(0, { case: "ping", value: 1 });
        this.outbox.touch();
      },
      dead: () => this.break("the peer does not answer"),
    });
    stream.listen({
      onBytes: (bytes) => this.receive(bytes),
      onEnd: () => this.leave(),
      onGone: () => this.gone(),
    });
    this.outbox.batch.frame(0, {
      case: "hello",
      value: {
        version: linkVersion,
        messageBytesMax: options.serving.messageBytesMax,
        callsMax: options.link.callsMax,
        requestCredit: options.link.windowBytes,
        peer: options.name,
      },
    });
    this.outbox.touch();
  }

  /** Asks the client to make no new calls. */
  askToLeave(): void {
    this.outbox.batch.frame(0, { case: "drain", value: {} });
    this.outbox.touch();
  }

  break(text: string): void {
    this.refuse(new LinkFault(text, Code.Unavailable));
  }

  private receive(bytes: Buffer): void {
    if (this.closed) return;
    this.keepalive.heard();
    try {
      this.splitter.write(bytes);
    } catch (thrown) {
      if (thrown instanceof LinkFault) {
        this.refuse(thrown);
      } else {
        this.options.serving.onDefect({ method: openPath, thrown });
        this.refuse(new LinkFault("the link failed", Code.Internal));
      }
    }
  }

  private read(message: Buffer): void {
    if (this.closed) return;
    readFrames(message, this);
    if (this.outbox.batch.length > unreadBytesMax) {
      throw new LinkFault("the peer sends and does not read", Code.ResourceExhausted);
    }
  }

  private refuse(fault: LinkFault): void {
    if (this.closed) return;
    this.gone();
    this.stream.fail(fault.code, fault.message);
  }

  /** The client has said its last word. */
  private leave(): void {
    if (this.closed) return;
    this.gone();
    this.stream.end();
  }

  private gone(): void {
    if (this.closed) return;
    this.closed = true;
    this.keepalive.stop();
    this.outbox.close();
    this.onClosed();
    for (const call of this.calls.values()) call.abandon();
    this.calls.clear();
  }

  hello(hello: Hello): void {
    if (this.greeted) throw new LinkFault("a second hello");
    if (hello.version !== linkVersion) throw new LinkFault(`this side speaks version ${linkVersion} of the link`);
    this.greeted = true;
    this.replyBytesMax = hello.messageBytesMax;
  }

  start(id: number, start: StartFrame): void {
    if (!this.greeted) throw new LinkFault("a call before the hello");
    if (id <= this.lastCall) throw new LinkFault("a call's number does not exceed the last one");
    this.lastCall = id;
    const method = this.options.methods.get(start.method);
    if (method === undefined) {
      sendError(this.outbox, id, notServed(start.method.slice(0, 200)));
    } else if (!this.mayCall(start.method)) {
      sendError(this.outbox, id, new WeirError(ErrorReason.FORBIDDEN, { text: notForThisPeer }));
    } else if (this.running >= this.options.link.callsMax || this.calls.size >= this.options.link.callsMax) {
      sendError(this.outbox, id, new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1000 }));
    } else {
      const call = new ServedCall(this, id, start, method);
      this.calls.set(id, call);
      call.opened();
    }
  }

  part(id: number, bytes: Buffer, start: number, end: number, more: boolean): void {
    this.find(id)?.part(bytes, start, end, more);
  }

  finish(id: number): void {
    this.find(id)?.finish();
  }

  cancel(id: number): void {
    const call = this.find(id);
    this.calls.delete(id);
    call?.abandon();
  }

  credit(id: number, bytes: number): void {
    const call = this.find(id);
    if (call === undefined) return;
    if (call.outgoing.credit + bytes > 0xffff_ffff) throw new LinkFault("too much credit");
    this.outbox.grant(call.outgoing, bytes);
  }

  ping(number: number): void {
    this.outbox.batch.frame(0, { case: "pong", value: number });
    this.outbox.touch();
  }

  pong(): void {}

  end(): void {
    throw new LinkFault("a frame that only the server sends");
  }

  drain(): void {
    throw new LinkFault("a frame that only the server sends");
  }

  headers(): void {
    throw new LinkFault("a frame that only the server sends");
  }

  forget(id: number): void {
    this.calls.delete(id);
  }

  /** A call that is open; undefined for one that has ended. */
  private find(id: number): ServedCall | undefined {
    const call = this.calls.get(id);
    if (call === undefined && id > this.lastCall) throw new LinkFault("a frame of a call that was not started");
    return call;
  }
}
