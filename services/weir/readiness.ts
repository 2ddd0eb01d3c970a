import type { FirstKey } from "./first-key.ts";
import { OperatorError } from "./operator-error.ts";
import { systemClock } from "@weir/kit/clock";
import { pause } from "./pause.ts";

const readyTimeoutMs = 120_000;
const askTimeoutMs = 2_000;
const askEveryMs = 100;
/** A key that is not known yet looks like a guess, of which an address has few. */
const askForKeyEveryMs = 250;
const keyTimeoutMs = 5_000;

/**
 * Waits until an edge says that requests should come to it: until then it has no keys to judge callers by.
 * @param url without `/v1`
 * @param failing why it will never be ready, for people; undefined: it may
 * @throws OperatorError when it will not be, or is not after two minutes; Error when the signal fires
 */
export async function waitUntilReady(
  url: string,
  signal: AbortSignal,
  failing: () => string | undefined = () => undefined,
): Promise<void> {
  const endMs = systemClock.monotonic() + readyTimeoutMs;
  while (!signal.aborted) {
    if ((await statusOf(`${url}/health/ready`, {})) === 200) return;
    const why = failing();
    if (why !== undefined) throw new OperatorError(why);
    if (systemClock.monotonic() > endMs) {
      throw new OperatorError(`the edge is not ready after ${readyTimeoutMs / 1_000} s`);
    }
    await pause(askEveryMs, systemClock, signal);
  }
  throw new Error("given up");
}

/** Waits until an edge that is ready has heard of a key that was made now; for five seconds at most, as whoever uses it may. */
export async function waitUntilKnown(url: string, key: FirstKey, signal: AbortSignal): Promise<void> {
  if (key.kind !== "created") return;
  const endMs = systemClock.monotonic() + keyTimeoutMs;
  while (!signal.aborted && systemClock.monotonic() < endMs) {
    const status = await statusOf(`${url}/v1/models`, { authorization: `Bearer ${key.text}` });
    if (status !== undefined && status < 400) return;
    await pause(askForKeyEveryMs, systemClock, signal);
  }
}

/** Undefined: nobody answered. */
async function statusOf(url: string, headers: Readonly<Record<string, string>>): Promise<number | undefined> {
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(askTimeoutMs) });
    await response.body?.cancel();
    return response.status;
  } catch {
    // Not yet; what keeps it from starting is in its own log.
    return undefined;
  }
}
