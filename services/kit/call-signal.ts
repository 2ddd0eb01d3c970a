interface Listener {
  handleEvent(): void;
}

/** What gives a call up when it fires: an AbortSignal, or a HangUp. */
export interface CallSignal {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: Listener, options?: { readonly once?: boolean }): void;
  removeEventListener(type: "abort", listener: Listener): void;
}

/**
 * Gives calls up that it was passed to as their signal. For what makes one for each call: an AbortController and one listener cost
 * five times as much.
 */
export class HangUp implements CallSignal {
  aborted = false;
  private listeners: Listener[] | undefined;

  addEventListener(_type: "abort", listener: Listener): void {
    (this.listeners ??= []).push(listener);
  }

  removeEventListener(_type: "abort", listener: Listener): void {
    this.listeners = this.listeners?.filter((other) => other !== listener);
  }

  /** Only the first use counts. */
  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    const { listeners } = this;
    this.listeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener.handleEvent();
  }
}
