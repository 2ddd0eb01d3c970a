import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "@weir/kit/clock";
import type { Dispatcher } from "undici";

/** What happens to one HTTP request and its answer. Nothing is told after `ended`, `broke` or `abort`. */
export interface ExchangeSink {
  /** A connection stands; the request leaves now. */
  sending(): void;
  head(status: number, headers: IncomingHttpHeaders): void;
  data(bytes: Buffer): void;
  ended(): void;
  /** The connection could not be made, or broke before the answer's end. */
  broke(error: Error): void;
}

const hungUp = new Error("hung up");
const lateEndMs = 1_000;

/** One HTTP request, on undici's handler interface: no streams, no promises, and the bytes as they came. */
export class Exchange implements Dispatcher.DispatchHandler {
  private readonly sink: ExchangeSink;
  private controller: Dispatcher.DispatchController | undefined;
  private state: "open" | "leaving" | "over" = "open";
  private cancelTimer: (() => void) | undefined;

  constructor(sink: ExchangeSink) {
    this.sink = sink;
  }

  start(dispatcher: Dispatcher, options: Dispatcher.DispatchOptions): void {
    dispatcher.dispatch(options, this);
  }

  /**
   * Closes the connection. When it does not stand yet, nothing will be sent on it.
   * @returns whether the exchange was still under way
   */
  abort(): boolean {
    if (this.state === "over") return false;
    this.close();
    this.controller?.abort(hungUp);
    return true;
  }

  /** The answer is whole: what still comes is dropped, and the connection closed unless the answer ends soon. */
  leave(clock: Clock): void {
    if (this.state !== "open") return;
    this.state = "leaving";
    this.cancelTimer = clock.after(lateEndMs, () => this.abort());
    this.resume();
  }

  /** Stops reading from the connection; what was read already still comes. */
  pause(): void {
    if (this.state === "open") this.controller?.pause();
  }

  resume(): void {
    if (this.state !== "over" && this.controller?.paused) this.controller.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.state === "over") controller.abort(hungUp);
    else this.sink.sending();
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status >= 200 && this.state === "open") this.sink.head(status, headers);
  }

  onResponseData(_: Dispatcher.DispatchController, bytes: Buffer): void {
    if (this.state === "open") this.sink.data(bytes);
  }

  onResponseEnd(): void {
    if (!this.close()) return;
    try {
      this.sink.ended();
    } catch (thrown) {
      // A defect while the end is read: undici tells nobody any more, and the call must be settled all the same.
      this.sink.broke(thrown instanceof Error ? thrown : new Error("a defect"));
    }
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (this.close()) this.sink.broke(error);
  }

  /** @returns whether the sink still wants to know */
  private close(): boolean {
    const wanted = this.state === "open";
    this.state = "over";
    this.cancelTimer?.();
    return wanted;
  }
}
