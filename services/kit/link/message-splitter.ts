import { Code } from "@connectrpc/connect";
import { LinkFault } from "./fault.ts";

/**
 * What stands in front of every message of a gRPC stream: whether it is compressed, and its length.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export const prefixBytes = 5;

/** Writes the prefix of a message that is not compressed to the beginning of `bytes`. */
export function writePrefix(bytes: Buffer, messageBytes: number): void {
  bytes[0] = 0;
  bytes.writeUInt32BE(messageBytes, 1);
}

/** Memory for a message that does not lie within one chunk, at first. */
const gatheredBytes = 128 * 1024;

/** Takes a message; `isPacked`: it is compressed. */
type OnMessage = (message: Buffer, isPacked: boolean) => void;

/**
 * Finds the messages in the bytes of a gRPC stream. A message that lies within one chunk is handed on as a view of it; one
 * that does not is gathered in memory of its own.
 */
export class MessageSplitter {
  private readonly bytesMax: number;
  private readonly onMessage: OnMessage;
  private readonly allowsPacked: boolean;
  /** The part of a prefix that has come. */
  private prefix: Buffer | undefined;
  private prefixFilled = 0;
  /** The message that has begun and is not complete. */
  private message: Buffer | undefined;
  private messageBytes = 0;
  private messageFilled = 0;
  private isPacked = false;

  /**
   * @param bytesMax largest message; a larger one is refused when its prefix is read, before anything is kept of it
   * @param allowsPacked whether messages may be compressed; default false
   */
  constructor(bytesMax: number, onMessage: OnMessage, allowsPacked = false) {
    this.bytesMax = bytesMax;
    this.onMessage = onMessage;
    this.allowsPacked = allowsPacked;
  }

  /** Whether no message has begun that is not complete. */
  get isBetween(): boolean {
    return this.message === undefined && this.prefixFilled === 0;
  }

  /** @throws LinkFault when a message is compressed that must not be, or too large; nothing may be written after that */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.message === undefined) at = this.begin(chunk, at);
      else at = this.proceed(chunk, at, this.message);
    }
  }

  /** Reads the rest of a prefix and, when all of it is there, a message. @returns how far it came */
  private begin(chunk: Buffer, from: number): number {
    let prefix = chunk;
    let prefixAt = from;
    let at = from + prefixBytes;
    if (this.prefixFilled > 0 || at > chunk.length) {
      at = Math.min(chunk.length, from + prefixBytes - this.prefixFilled);
      this.prefix ??= Buffer.alloc(prefixBytes);
      this.prefixFilled += chunk.copy(this.prefix, this.prefixFilled, from, at);
      if (this.prefixFilled < prefixBytes) return at;
      this.prefixFilled = 0;
      prefix = this.prefix;
      prefixAt = 0;
    }
    const flag = prefix[prefixAt];
    this.isPacked = flag === 1;
    if (flag !== 0 && !(this.isPacked && this.allowsPacked))
      throw new LinkFault("a compressed message", Code.Unimplemented);
    const length = prefix.readUInt32BE(prefixAt + 1);
    if (length > this.bytesMax) throw new LinkFault("a batch is too large", Code.ResourceExhausted);
    const end = at + length;
    if (end > chunk.length) {
      this.message = Buffer.allocUnsafeSlow(Math.min(length, gatheredBytes));
      this.messageBytes = length;
      this.messageFilled = 0;
      return at;
    }
    this.onMessage(chunk.subarray(at, end), this.isPacked);
    return end;
  }

  private proceed(chunk: Buffer, at: number, begun: Buffer): number {
    const message = this.messageFilled < begun.length ? begun : this.grown(begun);
    const copied = chunk.copy(message, this.messageFilled, at);
    this.messageFilled += copied;
    if (this.messageFilled === this.messageBytes) {
      this.message = undefined;
      this.onMessage(message, this.isPacked);
    }
    return at + copied;
  }

  /** Memory grows with what has come: a length alone is but a word. */
  private grown(full: Buffer): Buffer {
    const message = Buffer.allocUnsafeSlow(Math.min(this.messageBytes, full.length * 2));
    full.copy(message);
    this.message = message;
    return message;
  }
}
