import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { encode } from "../codec.ts";
import { prefixBytes, writePrefix } from "../link/message-splitter.ts";

const kept = new WeakMap<object, Buffer>();
/** A larger message is encoded again each time. */
const keptBytesMax = 64 * 1024;

/**
 * A message behind its prefix, as streams of gRPC have it. Of a frozen message, which is one that nobody changes any more, nor what is in
 * it, the bytes are kept for as long as the message is. The caller must not change them.
 */
export function frame<M extends DescMessage>(schema: M, message: MessageInitShape<M>): Buffer {
  const known = kept.get(message);
  if (known !== undefined) return known;
  const encoded = encode(schema, message);
  const framed = Buffer.allocUnsafe(prefixBytes + encoded.length);
  writePrefix(framed, encoded.length);
  encoded.copyTo(framed, prefixBytes);
  if (framed.length <= keptBytesMax && Object.isFrozen(message)) {
    // Memory of its own, not a piece of a pool that it would hold.
    const own = Buffer.allocUnsafeSlow(framed.length);
    framed.copy(own);
    kept.set(message, own);
  }
  return framed;
}
