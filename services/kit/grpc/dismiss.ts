import { constants, type ServerHttp2Stream } from "node:http2";
import { http2WindowBytes } from "../link/settings.ts";

/** What a client may still send when its answer has been given to its connection: more than can have been on its way. */
const lateBytesMax = 2 * http2WindowBytes;

/**
 * Lets a stream end whose answer is on its way and whose request is not whole: what still comes is thrown away, and a client that
 * goes on all the same is told to stop. Not at once, since a reset overtakes the answer.
 * https://www.rfc-editor.org/rfc/rfc9113#section-8.1-5
 */
export function dismiss(stream: ServerHttp2Stream): void {
  let left = lateBytesMax;
  stream.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) stream.close(constants.NGHTTP2_NO_ERROR);
  });
  stream.resume();
}
