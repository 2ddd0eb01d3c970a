import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { End, Headers } from "@weir/gen/weir/link/v1/link_service_pb";
import type { CallOptions, Metadata, Outgoing } from "../call.ts";
import type { Clock } from "../clock.ts";
import { decode, encode } from "../codec.ts";
import { methodPath, noMetadata } from "../context.ts";
import { type ReplySource, ReplyStream } from "../reply-stream.ts";
import { deadlineExceeded, requestTooLarge, travellingTimeoutMs } from "../serving.ts";
import { fromStatus } from "../status.ts";
import { CallCancelled, toWeirError, WeirError } from "../weir-error.ts";
import type { Link } from "./client.ts";
import { LinkFault } from "./fault.ts";
import { Inflow } from "./inflow.ts";
import { OutgoingCall } from "./outbox.ts";
import { RequestSending } from "./request-sending.ts";

/** What a call needs of those who find a link for it. */
export interface CallSettings {
  /** Name of the service, for texts. */
  readonly peerName: string;
  readonly clock: Clock;
  readonly messageBytesMax: number;
  readonly windowBytes: number;
}

/** Where the answer goes. */
export interface ReplyReader {
  /** One message; its memory may be kept. */
  message(bytes: Buffer): void;
  end(): void;
  fail(error: Error, atOnce: boolean): void;
}

/** One call from the caller's side, from before there is a link for it to its end. */
export class ClientCall {
  private readonly desc: DescMethod;
  /** The message, or the ReplyStream of those that the method takes. */
  private readonly request: Outgoing;
  private readonly options: CallOptions;
  private readonly settings: CallSettings;
  private readonly reader: ReplyReader;
  private readonly startTime: number;
  /** Called once when the call ends while it waits for a link. */
  onOver: (() => void) | undefined;
  private cancelTimer: (() => void) | undefined;
  private link: Link | undefined;
  private id = 0;
  private outgoing: OutgoingCall | undefined;
  private over = false;
  private headersTold = false;
  /** Sends the requests of a method that takes a stream. */
  private sending: RequestSending | undefined;
  private readonly inflow: Inflow;
  /** Bytes of the answer that the server may send without being granted more. */
  private readonly credit: number;

  constructor(desc: DescMethod, request: Outgoing, options: CallOptions, settings: CallSettings, reader: ReplyReader) {
    this.desc = desc;
    this.request = request;
    this.options = options;
    this.settings = settings;
    this.reader = reader;
    this.credit = desc.methodKind === "unary" ? settings.messageBytesMax : settings.windowBytes;
    this.inflow = new Inflow(settings.windowBytes, settings.messageBytesMax, this.credit);
    this.startTime = options.timeoutMs === undefined ? 0 : settings.clock.monotonic();
  }

  /** Whether the call has ended. */
  get ended(): boolean {
    return this.over;
  }

  /** Heeds the caller's signal and time from now on. False: the call is over already. */
  begin(): boolean {
    const { signal, timeoutMs } = this.options;
    if (signal?.aborted) {
      this.giveUp(new CallCancelled());
    } else if (timeoutMs !== undefined && timeoutMs <= 0) {
      this.giveUp(deadlineExceeded());
    } else {
      signal?.addEventListener("abort", this, once);
      if (timeoutMs !== undefined) {
        this.cancelTimer = this.settings.clock.after(timeoutMs, () => this.giveUp(deadlineExceeded()));
      }
    }
    return !this.over;
  }

  /** Goes out on a link. */
  send(link: Link): void {
    this.onOver = undefined;
    try {
      if (this.request instanceof ReplyStream) {
        this.sendStream(link, this.request);
        return;
      }
      const encoded = encode(this.desc.input, this.request);
      if (encoded.length > link.requestBytesMax) throw requestTooLarge(link.requestBytesMax);
      this.id = link.begin(this, this.desc, this.credit, this.timeLeftMs(), this.options.metadata);
      this.link = link;
      this.outgoing = new OutgoingCall(this.id, Number.POSITIVE_INFINITY);
      link.outbox.send(this.outgoing, encoded);
    } catch (thrown) {
      this.giveUp(toWeirError(thrown));
    }
  }

  private sendStream(link: Link, requests: ReplyStream<MessageInitShape<DescMessage>>): void {
    this.id = link.begin(this, this.desc, this.credit, this.timeLeftMs(), this.options.metadata);
    this.link = link;
    this.sending = new RequestSending({
      outbox: link.outbox,
      id: this.id,
      input: this.desc.input,
      requests,
      credit: link.requestCredit,
      messageBytesMax: link.requestBytesMax,
      onFailed: (error) => this.giveUp(error),
    });
    this.outgoing = this.sending.outgoing;
    link.outbox.touch();
    this.sending.start();
  }

  /** The caller's signal fired. */
  handleEvent(): void {
    this.giveUp(new CallCancelled());
  }

  /** Ends the call from this side, and tells the server. */
  giveUp(error: Error): void {
    if (this.over) return;
    this.leave();
    this.link?.leave(this.id, true);
    this.reader.fail(error, true);
  }

  /** The link broke. */
  broken(): void {
    this.failed(unreachable(this.settings.peerName));
  }

  headers({ metadata }: Headers): void {
    this.tellHeaders(metadata);
  }

  part(bytes: Buffer, start: number, end: number, more: boolean): void {
    const message = this.inflow.part(bytes, start, end, more);
    if (message !== undefined) {
      this.tellHeaders(noMetadata);
      if (this.over) return;
      this.reader.message(message);
    }
    if (!this.isUnary) this.grant();
  }

  end(end: End | undefined): void {
    if (end !== undefined && end.code !== 0) {
      this.failed(fromStatus(end));
      return;
    }
    if (this.inflow.partsBytes > 0) throw new LinkFault("a call ended inside a message");
    if (this.over) return;
    this.tellHeaders(noMetadata);
    this.tell(this.options.onTrailers, end?.metadata ?? noMetadata);
    if (this.over) return;
    this.leave();
    this.reader.end();
  }

  /** The reader took a message of so many bytes. */
  consumed(bytes: number): void {
    this.inflow.consumed(bytes);
    if (!this.over) this.grant();
  }

  /** The server takes more of a stream of requests. @throws LinkFault when there is none, or it grants too much */
  granted(bytes: number): void {
    const { sending } = this;
    if (sending === undefined) throw new LinkFault("credit for a call that sends one message");
    if (sending.outgoing.credit + bytes > 0xffff_ffff) throw new LinkFault("too much credit");
    this.link?.outbox.grant(sending.outgoing, bytes);
  }

  private get isUnary(): boolean {
    return this.desc.methodKind === "unary";
  }

  private grant(): void {
    if (this.link === undefined || this.over) return;
    const due = this.inflow.takeDue();
    if (due === 0) return;
    this.link.outbox.batch.credit(this.id, due);
    this.link.outbox.touch();
  }

  private failed(error: WeirError): void {
    if (this.over) return;
    this.leave();
    this.reader.fail(error, false);
  }

  private leave(): void {
    this.over = true;
    this.onOver?.();
    this.cancelTimer?.();
    this.options.signal?.removeEventListener("abort", this);
    if (this.outgoing !== undefined) this.link?.outbox.drop(this.outgoing);
    if (this.sending !== undefined) this.sending.stop();
    else if (this.request instanceof ReplyStream) void this.request.return();
    this.inflow.drop();
  }

  private timeLeftMs(): number | undefined {
    const { timeoutMs } = this.options;
    if (timeoutMs === undefined) return undefined;
    const left = travellingTimeoutMs(timeoutMs - (this.settings.clock.monotonic() - this.startTime));
    return Math.min(0xffff_ffff, Math.floor(left));
  }

  private tellHeaders(metadata: Metadata): void {
    if (this.headersTold) return;
    this.headersTold = true;
    this.tell(this.options.onHeaders, metadata);
  }

  /** What the caller's own function throws fails its call, not the link. */
  private tell(callback: ((metadata: Metadata) => void) | undefined, metadata: Metadata): void {
    try {
      callback?.(metadata);
    } catch (thrown) {
      this.giveUp(toWeirError(thrown));
    }
  }
}

const once: AddEventListenerOptions = { once: true };

/** A service of the mesh that nobody answers for. */
export function unreachable(peerName: string): WeirError {
  return new WeirError(ErrorReason.OVERLOADED, {
    text: `The service ${peerName} cannot be reached; try again in a second.`,
    retryAfterMs: 1000,
  });
}

/** The reader of a unary call: one message, then the end. */
export class UnaryReply<O extends DescMessage> implements ReplyReader {
  private readonly desc: DescMethod & { readonly output: O };
  private readonly resolve: (message: MessageShape<O>) => void;
  private readonly reject: (error: Error) => void;
  private bytes: Buffer | undefined;

  constructor(
    desc: DescMethod & { readonly output: O },
    resolve: (message: MessageShape<O>) => void,
    reject: (error: Error) => void,
  ) {
    this.desc = desc;
    this.resolve = resolve;
    this.reject = reject;
  }

  message(bytes: Buffer): void {
    if (this.bytes !== undefined) throw new LinkFault("a second answer in one unary call");
    this.bytes = bytes;
  }

  end(): void {
    try {
      if (this.bytes === undefined) throw new Error(`${methodPath(this.desc)} ended without an answer`);
      this.resolve(decode(this.desc.output, this.bytes));
    } catch (thrown) {
      this.reject(toWeirError(thrown));
    }
  }

  fail(error: Error): void {
    this.reject(error);
  }
}

/** The reader of a streaming call. Messages are decoded when they are taken, and taking them gives credit. */
export class StreamReply<O extends DescMessage> implements ReplyReader, ReplySource<MessageShape<O>> {
  readonly stream = new ReplyStream<MessageShape<O>>(this);
  private readonly output: O;
  private readonly open: () => ClientCall;
  private call: ClientCall | undefined;
  /** What came and was not taken; the call's credit bounds it. */
  private readonly queue: Buffer[] = [];

  /** @param open begins the call; called at the first `poll` */
  constructor(output: O, open: (reader: ReplyReader) => ClientCall) {
    this.output = output;
    this.open = () => open(this);
  }

  begin(): void {
    this.call = this.open();
  }

  poll(): MessageShape<O> | undefined {
    const bytes = this.queue.shift();
    if (bytes === undefined) return undefined;
    this.call?.consumed(bytes.length);
    try {
      return decode(this.output, bytes);
    } catch (thrown) {
      throw toWeirError(thrown);
    }
  }

  hangUp(): void {
    this.call?.giveUp(new CallCancelled());
  }

  message(bytes: Buffer): void {
    this.queue.push(bytes);
    // A batch may hold more of this call, and the reader is not to run inside the link.
    this.stream.readySoon();
  }

  end(): void {
    this.stream.end();
  }

  fail(error: Error, atOnce: boolean): void {
    this.stream.fail(error, atOnce);
  }
}
