import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { decode, encode } from "../codec.ts";
import { noMetadata } from "../context.ts";
import { replyTooLarge, type ReplySink, requestTooLarge, type ServedMethod, Serving } from "../serving.ts";
import { toStatus } from "../status.ts";
import { CallCancelled, toWeirError, WeirError } from "../weir-error.ts";
import { LinkFault } from "./fault.ts";
import type { StartFrame } from "./frame.ts";
import { Inflow } from "./inflow.ts";
import { type Outbox, OutgoingCall, type Sender } from "./outbox.ts";
import { ServedRequests } from "./served-requests.ts";

/** What a served call needs of its link. */
export interface CallHost {
  readonly outbox: Outbox;
  /** Bytes of requests that are not complete. */
  bufferedBytes: number;
  readonly bufferedBytesMax: number;
  /** Request bytes that a call may be ahead of its handler. */
  readonly windowBytes: number;
  /** Handlers that have not settled, those of calls that were given up included. */
  running: number;
  /** Largest message that the client accepts. */
  replyBytesMax: number;
  /** The call has ended. */
  forget(id: number): void;
}

/** Ends a call that nobody has begun to serve. */
export function sendError(outbox: Outbox, id: number, error: WeirError): void {
  const { code, message, details } = toStatus(error);
  outbox.batch.frame(id, { case: "end", value: { code, message, details: [...details] } });
  outbox.touch();
}

/** One call on the serving side of a link: gathers its request, runs it, and sends what it answers. */
export class ServedCall implements ReplySink, Sender {
  readonly outgoing: OutgoingCall;
  private readonly host: CallHost;
  private readonly method: ServedMethod;
  private readonly serving: Serving;
  private parts: Buffer[] = [];
  private partsBytes = 0;
  private begun = false;
  private headersSent = false;
  /** The call has ended well, and what it sent has not left yet. */
  private ending = false;
  /** Of a method that takes a stream: the messages that came. */
  private requests: ServedRequests | undefined;

  constructor(host: CallHost, id: number, start: StartFrame, method: ServedMethod) {
    this.host = host;
    this.method = method;
    this.outgoing = new OutgoingCall(id, start.credit, this);
    this.serving = new Serving(method, "link", start.metadata, start.timeoutMs, this);
  }

  /** The link knows of the call: one whose client sends a stream begins at once. */
  opened(): void {
    if (!this.method.streamsRequests) return;
    this.requests = this.readable();
    this.host.running += 1;
    this.serving.startStream(this.requests.stream);
  }

  /** A part of the request. */
  part(bytes: Buffer, start: number, end: number, more: boolean): void {
    const { bufferedBytesMax } = this.host;
    const size = end - start;
    if (this.requests !== undefined) {
      this.partOfStream(this.requests, bytes, start, end, more);
      return;
    }
    if (this.begun) throw new LinkFault("a second request in one call");
    const bytesMax = this.method.settings.messageBytesMax;
    if (this.partsBytes + size > bytesMax) {
      this.serving.fail(requestTooLarge(bytesMax));
    } else if (more && this.host.bufferedBytes + size > bufferedBytesMax) {
      this.serving.fail(new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1000 }));
    } else if (more && size > 0) {
      this.parts.push(copied(bytes, start, end));
      this.partsBytes += size;
      this.host.bufferedBytes += size;
    } else if (!more) {
      this.begin(this.whole(bytes, start, end));
    }
  }

  /** The client has sent the last message of its stream. */
  finish(): void {
    if (this.requests === undefined) throw new LinkFault("a finish in a call of one message");
    this.requests.finish();
  }

  /** The client does not want the call any more, or is gone. */
  abandon(): void {
    this.release();
    this.host.outbox.drop(this.outgoing);
    this.serving.abort(new CallCancelled());
  }

  message(message: MessageInitShape<DescMessage>): boolean {
    const encoded = encode(this.method.desc.output, message);
    const bytesMax = Math.min(this.method.settings.messageBytesMax, this.host.replyBytesMax);
    if (encoded.length > bytesMax) throw replyTooLarge(this.method.path, bytesMax);
    this.sendHeaders();
    return this.host.outbox.send(this.outgoing, encoded);
  }

  end(error: WeirError | undefined): void {
    this.release();
    this.ending = error === undefined;
    if (this.ending && this.outgoing.pending.length > 0) return;
    this.leave();
    if (error === undefined) this.sendEnd();
    else sendError(this.host.outbox, this.outgoing.id, error);
  }

  writable(): void {
    this.serving.resume();
  }

  emptied(): void {
    if (!this.ending) return;
    this.leave();
    this.sendEnd();
  }

  settled(): void {
    this.host.running -= 1;
  }

  private readable(): ServedRequests {
    const { host, method, serving } = this;
    const { windowBytes } = host;
    return new ServedRequests({
      input: method.desc.input,
      inflow: new Inflow(windowBytes, method.settings.messageBytesMax, windowBytes),
      grant: (bytes) => {
        host.outbox.batch.credit(this.outgoing.id, bytes);
        host.outbox.touch();
      },
      check: (message) => serving.check(message),
      onFailed: (thrown) => serving.fail(toWeirError(thrown)),
    });
  }

  private partOfStream(requests: ServedRequests, bytes: Buffer, start: number, end: number, more: boolean): void {
    const { host } = this;
    if (more && host.bufferedBytes + end - start > host.bufferedBytesMax) {
      this.serving.fail(new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1000 }));
      return;
    }
    requests.part(bytes, start, end, more);
    const { partsBytes } = requests;
    host.bufferedBytes += partsBytes - this.partsBytes;
    this.partsBytes = partsBytes;
  }

  private begin(request: Buffer): void {
    this.begun = true;
    let message: MessageShape<DescMessage>;
    try {
      message = decode(this.method.desc.input, request);
    } catch {
      this.serving.fail(
        new WeirError(ErrorReason.INVALID_REQUEST, { text: `The request is no ${this.method.desc.input.typeName}.` }),
      );
      return;
    }
    this.host.running += 1;
    this.serving.start(message);
  }

  private whole(bytes: Buffer, start: number, end: number): Buffer {
    if (this.parts.length === 0) return copied(bytes, start, end);
    const whole = Buffer.concat([...this.parts, bytes.subarray(start, end)]);
    this.release();
    return whole;
  }

  private leave(): void {
    this.host.outbox.drop(this.outgoing);
    this.host.forget(this.outgoing.id);
  }

  private release(): void {
    if (this.partsBytes === 0) return;
    this.host.bufferedBytes -= this.partsBytes;
    this.partsBytes = 0;
    this.parts = [];
  }

  private sendHeaders(): void {
    if (this.headersSent) return;
    this.headersSent = true;
    const metadata = this.serving.context.responseMetadata();
    if (metadata !== noMetadata) {
      this.host.outbox.batch.frame(this.outgoing.id, { case: "headers", value: { metadata: { ...metadata } } });
      this.host.outbox.touch();
    }
  }

  private sendEnd(): void {
    const { outbox } = this.host;
    const { id } = this.outgoing;
    this.sendHeaders();
    const metadata = this.serving.context.trailingMetadata();
    if (metadata === noMetadata) outbox.batch.endWell(id);
    else outbox.batch.frame(id, { case: "end", value: { metadata: { ...metadata } } });
    outbox.touch();
  }
}

/** Memory of its own: a request is kept for its whole call, and must not keep the batch that it came in. */
function copied(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  bytes.copy(copy, 0, start, end);
  return copy;
}
