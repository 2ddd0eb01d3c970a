import { expect, test } from "vitest";
import { type CallSignal, HangUp } from "./call-signal.ts";

function listener(): { handleEvent(): void; times: number } {
  return {
    times: 0,
    handleEvent() {
      this.times += 1;
    },
  };
}

const makers: readonly (readonly [string, () => { signal: CallSignal; abort(): void }])[] = [
  [
    "an AbortController",
    () => {
      const controller = new AbortController();
      return { signal: controller.signal, abort: () => controller.abort() };
    },
  ],
  [
    "a HangUp",
    () => {
      const hangUp = new HangUp();
      return { signal: hangUp, abort: () => hangUp.abort() };
    },
  ],
];

test.each(makers)("%s tells each listener once, and none that has left", (_, make) => {
  const { signal, abort } = make();
  const [first, second, left] = [listener(), listener(), listener()];
  for (const each of [first, left, second]) signal.addEventListener("abort", each, { once: true });
  signal.removeEventListener("abort", left);
  expect(signal.aborted).toBe(false);
  abort();
  abort();
  expect(signal.aborted).toBe(true);
  expect([first.times, second.times, left.times]).toEqual([1, 1, 0]);
});

test.each(makers)("a listener of %s may leave while it is told", (_, make) => {
  const { signal, abort } = make();
  const last = listener();
  const leaving = { handleEvent: () => signal.removeEventListener("abort", leaving) };
  signal.addEventListener("abort", leaving, { once: true });
  signal.addEventListener("abort", last, { once: true });
  abort();
  expect(last.times).toBe(1);
});
