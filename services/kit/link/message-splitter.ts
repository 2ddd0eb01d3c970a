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

/**
 * Finds the messages in the bytes of a gRPC stream. A message that lies within one chunk is handed on as a view of it; one
 * that does not is gathered in memory of its own.
 */
export class MessageSplitter {
  private readonly bytesMax: number;
  private readonly onMessage: (message: Buffer) => void;
  private readonly prefix = Buffer.alloc(prefixBytes);
  private prefixFilled = 0;
  /** The message that has begun and is not complete. */
  private message: Buffer | undefined;
  private messageFilled = 0;

  /** @param bytesMax largest message; a larger one is refused when its prefix is read, before anything is kept of it */
  constructor(bytesMax: number, onMessage: (message: Buffer) => void) {
    this.bytesMax = bytesMax;
    this.onMessage = onMessage;
  }

  /** @throws LinkFault when a message is compressed or too large; nothing may be written after that */
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
      this.prefixFilled += chunk.copy(this.prefix, this.prefixFilled, from, at);
      if (this.prefixFilled < prefixBytes) return at;
      this.prefixFilled = 0;
      prefix = this.prefix;
      prefixAt = 0;
    }
    if (prefix[prefixAt] !== 0) throw new LinkFault("a compressed message", Code.Unimplemented);
    const length = prefix.readUInt32BE(prefixAt + 1);
    if (length > this.bytesMax) throw new LinkFault("a batch is too large", Code.ResourceExhausted);
    const end = at + length;
    if (end > chunk.length) {
      this.message = Buffer.allocUnsafeSlow(length);
      this.messageFilled = 0;
      return at;
    }
    this.onMessage(chunk.subarray(at, end));
    return end;
  }

  private proceed(chunk: Buffer, at: number, message: Buffer): number {
    const copied = chunk.copy(message, this.messageFilled, at);
    this.messageFilled += copied;
    if (this.messageFilled === message.length) {
      this.message = undefined;
      this.onMessage(message);
    }
    return at + copied;
  }
}
