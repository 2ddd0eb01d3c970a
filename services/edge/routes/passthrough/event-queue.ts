import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { CallHeadSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { ForwardRequest } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ReplyStream } from "@weir/kit/reply-stream";

/** What one client says in a session, from its connection to the call. */
export class EventQueue {
  /** For the call. */
  readonly stream: ReplyStream<ForwardRequest>;
  private readonly waiting: ForwardRequest[] = [];
  private bytes = 0;

  /** @param onTaken called when all that waited has been taken */
  constructor(head: MessageInitShape<typeof CallHeadSchema>, onTaken: () => void) {
    this.waiting.push({
      $typeName: "weir.passthrough.v1.ForwardRequest",
      payload: { case: "head", value: create(CallHeadSchema, head) },
    });
    this.stream = new ReplyStream<ForwardRequest>({
      begin: () => undefined,
      poll: () => {
        const message = this.waiting.shift();
        if (message?.payload.case !== "piece") return message;
        this.bytes -= message.payload.value.data.length;
        if (this.bytes === 0) onTaken();
        return message;
      },
      hangUp: () => {
        this.waiting.length = 0;
        this.bytes = 0;
      },
    });
  }

  /** Bytes that wait. */
  get waitingBytes(): number {
    return this.bytes;
  }

  push(data: Buffer): void {
    this.waiting.push({
      $typeName: "weir.passthrough.v1.ForwardRequest",
      payload: { case: "piece", value: { $typeName: "weir.passthrough.v1.CallPiece", data, model: false } },
    });
    this.bytes += data.length;
    this.stream.ready();
  }

  /** The client says no more; what it has said is still taken. */
  end(): void {
    this.stream.end();
  }
}
