import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { ForwardAttemptResponse } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import type { AnswerHead } from "@weir/gen/weir/passthrough/v1/forward_pb";

type Payload = ForwardAttemptResponse["payload"];

/** What a forwarded call has for its caller, until it is read. */
export class AnswerBox {
  /** Called when `poll`, which had nothing to give, may have something. */
  onReady: (() => void) | undefined;
  /** Bytes that wait for the reader. */
  bytes = 0;
  /** Called when the reader has taken all there was. */
  private readonly taken: () => void;
  private readonly waiting: Payload[] = [];
  private failure: Error | undefined;
  private over = false;

  constructor(taken: () => void) {
    this.taken = taken;
  }

  /** Whether the last message was read. */
  get ended(): boolean {
    return this.over && this.waiting.length === 0;
  }

  begin(head: AnswerHead): void {
    this.put({ case: "head", value: head });
  }

  data(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.put({ case: "data", value: bytes });
  }

  /** The answer is whole. */
  end(usage: Usage | undefined): void {
    this.over = true;
    this.put({
      case: "end",
      value: { $typeName: "weir.passthrough.v1.AnswerEnd", ...(usage === undefined ? {} : { usage }) },
    });
  }

  /** The answer ends here; what came is still read. */
  fail(failure: Error): void {
    this.failure = failure;
    this.onReady?.();
  }

  /** @throws what the answer failed with, once everything before it was read */
  poll(): ForwardAttemptResponse | undefined {
    const payload = this.waiting.shift();
    if (payload === undefined) {
      if (this.failure !== undefined) throw this.failure;
      return undefined;
    }
    if (payload.case === "data") {
      this.bytes -= payload.value.length;
      if (this.bytes === 0) this.taken();
    }
    return { $typeName: "weir.passthrough.v1.ForwardAttemptResponse", payload };
  }

  private put(payload: Payload): void {
    this.waiting.push(payload);
    this.onReady?.();
  }
}
