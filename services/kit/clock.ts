/** Time, as a parameter, so that tests can own it. */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970, with fractions. May step; for records, never for measuring. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes back. For measuring and for deadlines. */
  monotonic(): number;
  /** Calls once after a delay in milliseconds; does not keep the process alive. Returns what cancels it. */
  after(delayMs: number, call: () => void): () => void;
}

/** The machine's time. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  monotonic: () => performance.now(),
  after(delayMs, call) {
    const timer = setTimeout(call, Math.min(delayMs, 0x7fff_ffff));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
