import type { Clock } from "../clock.ts";

export interface KeepaliveOptions {
  readonly clock: Clock;
  /** A peer that was silent for one interval is asked; one that stays silent for another is taken for dead. */
  readonly intervalMs: number;
  readonly ask: () => void;
  readonly dead: () => void;
}

/** Notices a peer that has gone without a word: a half-open connection, a stopped process. */
export class Keepalive {
  private readonly options: KeepaliveOptions;
  private silent = 0;
  private cancel: () => void;

  constructor(options: KeepaliveOptions) {
    this.options = options;
    this.cancel = options.clock.after(options.intervalMs, this.tick);
  }

  /** The peer was heard. */
  heard(): void {
    this.silent = 0;
  }

  stop(): void {
    this.cancel();
  }

  private readonly tick = (): void => {
    const { clock, intervalMs, ask, dead } = this.options;
    this.silent += 1;
    if (this.silent > 2) {
      dead();
      return;
    }
    this.cancel = clock.after(intervalMs, this.tick);
    if (this.silent === 2) ask();
  };
}
