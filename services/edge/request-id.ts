import { randomFillSync } from "node:crypto";

const poolBytes = 4_096;
const randomBytes = 10;

/**
 * Makes ids of requests: `req_` and 32 hexadecimal digits, of which the first twelve are the time in milliseconds and the
 * rest is random, so that they sort by time and cannot be guessed.
 */
export function createRequestIds(now: () => number): () => string {
  const pool = Buffer.allocUnsafe(poolBytes);
  let used = poolBytes;
  let timeMs = -1;
  let timeText = "";
  return () => {
    if (used + randomBytes > poolBytes) {
      randomFillSync(pool);
      used = 0;
    }
    const nowMs = Math.trunc(now());
    if (nowMs !== timeMs) {
      timeMs = nowMs;
      timeText = nowMs.toString(16).padStart(12, "0");
    }
    const from = used;
    used += randomBytes;
    return `req_${timeText}${pool.toString("hex", from, used)}`;
  };
}
