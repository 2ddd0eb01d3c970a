import { LinkFault } from "./fault.ts";
import { messageCostBytes } from "./settings.ts";

/**
 * The messages that one side of a call receives against credit: puts them together from their parts, and keeps `windowBytes`
 * between what the reader has not taken and what may still come.
 */
export class Inflow {
  /** Bytes of the message that is not complete. */
  partsBytes = 0;
  private readonly windowBytes: number;
  private readonly messageBytesMax: number;
  private parts: Buffer[] = [];
  /** What the other side may still send. */
  private credit: number;
  /** What messages cost that the reader has not taken. */
  private unreadBytes = 0;

  /** @param credit what the other side may send without being granted more */
  constructor(windowBytes: number, messageBytesMax: number, credit: number) {
    this.windowBytes = windowBytes;
    this.messageBytesMax = messageBytesMax;
    this.credit = credit;
  }

  /**
   * Takes a part: bytes `start` to `end`, which are only lent.
   * @returns the message that it completes, in memory that may be kept
   * @throws LinkFault for a part beyond its credit, and a message beyond its bound
   */
  part(bytes: Buffer, start: number, end: number, more: boolean): Buffer | undefined {
    if (this.credit <= 0) throw new LinkFault("a part beyond its credit");
    this.credit -= end - start + (more ? 0 : messageCostBytes);
    if (this.partsBytes + end - start > this.messageBytesMax) throw new LinkFault("a message is too large");
    if (more) {
      if (end > start) {
        this.parts.push(Buffer.from(bytes.subarray(start, end)));
        this.partsBytes += end - start;
      }
      return undefined;
    }
    const message = this.whole(bytes, start, end);
    this.unreadBytes += message.length + messageCostBytes;
    return message;
  }

  /** The reader took a message of so many bytes. */
  consumed(bytes: number): void {
    this.unreadBytes -= bytes + messageCostBytes;
  }

  /** What is to be granted now: at least half a window, else 0. It counts as granted. */
  takeDue(): number {
    const { windowBytes } = this;
    // A message that is not complete cannot be taken: once it is all there is, it does not count.
    const held = this.unreadBytes === 0 ? 0 : this.unreadBytes + this.partsBytes;
    const due = windowBytes - held - this.credit;
    if (due < windowBytes / 2) return 0;
    this.credit += due;
    return due;
  }

  /** Forgets the message that is not complete. */
  drop(): void {
    this.parts = [];
    this.partsBytes = 0;
  }

  private whole(bytes: Buffer, start: number, end: number): Buffer {
    if (this.parts.length === 0) return kept(bytes, start, end);
    const whole = Buffer.concat([...this.parts, bytes.subarray(start, end)]);
    this.drop();
    return whole;
  }
}

/** A view when its memory is small or mostly this message; else a copy, so that a message kept does not keep others. */
function kept(bytes: Buffer, start: number, end: number): Buffer {
  const { byteLength } = bytes.buffer;
  const view = bytes.subarray(start, end);
  return byteLength <= 16 * 1024 || byteLength <= 4 * view.length ? view : Buffer.from(view);
}
