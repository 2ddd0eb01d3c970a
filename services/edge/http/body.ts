import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Exchange } from "./exchange.ts";

export interface BodyLimits {
  /** Largest body, in bytes. */
  readonly bytesMax: number;
  /** Longest pause of the client, in milliseconds; also the time after which it must have kept to `bytesPerSecondMin`. */
  readonly stallMs: number;
  /** What a client must send each second, on average, beyond the first `stallMs`. */
  readonly bytesPerSecondMin: number;
  readonly memory: BodyMemory;
}

/** A request, whatever it speaks, by what it holds of the memory for bodies. */
type BodyHolder = Pick<Exchange, "bodyBytes">;

/** Bytes of bodies in memory, over all requests. */
export interface BodyMemory {
  /** @returns false when there is no room; nothing is taken then */
  take(holder: BodyHolder, bytes: number): boolean;
  /** Gives back some of what a request took. */
  give(holder: BodyHolder, bytes: number): void;
  /** Gives back all that a request took. */
  release(holder: BodyHolder): void;
}

/** What a piece of a body takes at the least, however few bytes it has: a client may send each byte by itself. */
const pieceBytesMin = 256;

/** What a piece counts that is kept as it came. */
export function heldBytes(piece: Buffer): number {
  return Math.max(piece.length, pieceBytesMin);
}

export function createBodyMemory(bytesMax: () => number): BodyMemory {
  let total = 0;
  return {
    take(holder, bytes) {
      if (total + bytes > bytesMax()) return false;
      total += bytes;
      holder.bodyBytes += bytes;
      return true;
    },
    give(holder, bytes) {
      total -= bytes;
      holder.bodyBytes -= bytes;
    },
    release(holder) {
      total -= holder.bodyBytes;
      holder.bodyBytes = 0;
    },
  };
}

/** As `readBody`, of a body that says nothing else of itself than that it is JSON. @throws WeirError UNSUPPORTED_MEDIA_TYPE */
export function readJsonBody(exchange: Exchange, limits: BodyLimits): Promise<Buffer> {
  const { headers } = exchange.request;
  checkMediaType(headers["content-type"], headers["content-encoding"]);
  return readBody(exchange, limits);
}

/**
 * Reads a body whole. Nothing beyond `bytesMax` is kept, and nothing is read when the headers alone say that it is too
 * much. Uses the alarm and `onGone` of the exchange.
 * @throws WeirError REQUEST_TOO_LARGE, REQUEST_TIMEOUT, OVERLOADED
 * @throws BodyAborted when the client left
 */
export function readBody(exchange: Exchange, limits: BodyLimits): Promise<Buffer> {
  const { request, body: known } = exchange;
  const { headers } = request;
  const announced = known?.length ?? headers["content-length"];
  if (announced !== undefined && Number(announced) > limits.bytesMax) throw tooLarge(limits.bytesMax);
  if (known !== undefined) return Promise.resolve(known);
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    let over = false;
    const beganMs = exchange.nowMs;
    const patienceMs = () => {
      const lateMs = beganMs + limits.stallMs + (bytes / limits.bytesPerSecondMin) * 1_000;
      return Math.min(limits.stallMs, lateMs - exchange.nowMs);
    };
    const settle = () => {
      over = true;
      parts.length = 0;
      exchange.onGone = undefined;
      exchange.clearAlarm();
    };
    const refuse = (error: Error) => {
      if (over) return;
      settle();
      reject(error);
    };
    exchange.onGone = () => refuse(new BodyAborted());
    exchange.alarm(patienceMs(), () => {
      exchange.bodyEnded = true;
      refuse(new WeirError(ErrorReason.REQUEST_TIMEOUT));
    });
    request.on("data", (part: Buffer) => {
      if (over) return;
      bytes += part.length;
      if (bytes > limits.bytesMax) return refuse(tooLarge(limits.bytesMax));
      if (!limits.memory.take(exchange, heldBytes(part))) {
        return refuse(new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 }));
      }
      parts.push(part);
      exchange.delayAlarm(patienceMs());
    });
    request.on("end", () => {
      if (over) return;
      const body = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, bytes);
      settle();
      resolve(body);
    });
    exchange.askForBody();
  });
}

/** The client left while it sent its body; there is nobody to answer. */
export class BodyAborted extends Error {
  override readonly name = "BodyAborted";
}

const jsonType = /^application\/json\s*(?:;|$)/i;

function checkMediaType(type: string | undefined, encoding: string | undefined): void {
  const plain = encoding === undefined || encoding === "" || encoding.toLowerCase() === "identity";
  if (plain && (type === undefined || type === "" || type === "application/json" || jsonType.test(type))) return;
  throw new WeirError(ErrorReason.UNSUPPORTED_MEDIA_TYPE);
}

function tooLarge(bytesMax: number): WeirError {
  return new WeirError(ErrorReason.REQUEST_TOO_LARGE, {
    text: `The request body is larger than ${bytesMax} bytes.`,
    metadata: { bytes_max: String(bytesMax) },
  });
}
