import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { encode } from "../codec.ts";
import type { ReplyStream } from "../reply-stream.ts";
import { RequestPump, type RequestSink } from "../request-pump.ts";
import { requestTooLarge } from "../serving.ts";
import { type Outbox, OutgoingCall, type Sender } from "./outbox.ts";

export interface RequestSendingOptions {
  readonly outbox: Outbox;
  readonly id: number;
  readonly input: DescMessage;
  readonly requests: ReplyStream<MessageInitShape<DescMessage>>;
  /** What may leave before the server grants more, in bytes. */
  readonly credit: number;
  /** Largest message that the server accepts. */
  readonly messageBytesMax: number;
  /** The caller's stream failed, or a message of it cannot be sent. */
  readonly onFailed: (error: Error) => void;
}

/** Sends the messages of a caller's stream, as far as the server's credit goes, and then says that there are no more. */
export class RequestSending implements Sender, RequestSink<MessageInitShape<DescMessage>> {
  readonly outgoing: OutgoingCall;
  private readonly options: RequestSendingOptions;
  private readonly pump: RequestPump<MessageInitShape<DescMessage>>;
  private finishing = false;

  constructor(options: RequestSendingOptions) {
    this.options = options;
    this.outgoing = new OutgoingCall(options.id, options.credit, this);
    this.pump = new RequestPump(options.requests, this);
  }

  start(): void {
    this.pump.start();
  }

  /** The call has ended. */
  stop(): void {
    this.pump.stop();
  }

  message(message: MessageInitShape<DescMessage>): boolean {
    const { input, messageBytesMax, outbox } = this.options;
    const encoded = encode(input, message);
    if (encoded.length > messageBytesMax) throw requestTooLarge(messageBytesMax);
    return outbox.send(this.outgoing, encoded);
  }

  finish(): void {
    this.finishing = true;
    if (this.outgoing.pending.length === 0) this.sayFinish();
  }

  fail(error: Error): void {
    this.options.onFailed(error);
  }

  writable(): void {
    this.pump.resume();
  }

  emptied(): void {
    if (this.finishing) this.sayFinish();
  }

  private sayFinish(): void {
    const { outbox, id } = this.options;
    outbox.batch.frame(id, { case: "finish", value: {} });
    outbox.touch();
  }
}
