import type { Frame, Framing, StreamFault } from "../codec.ts";
import { createAwsEventSplitter } from "./aws-event-stream.ts";
import { createLineSplitter } from "./ndjson.ts";
import { createSseSplitter } from "./sse.ts";

/** Cuts the bytes of one streamed answer, however they arrive, into frames. Never throws, whatever the bytes are. */
export interface FrameSplitter {
  /**
   * Takes the next bytes and appends the frames that they complete. Appends nothing after a fault. Keeps what is left: do
   * not write to `bytes` afterwards.
   */
  push(bytes: Buffer, out: Frame[]): void;
  /**
   * The stream ended in order. Appends a last frame that only lacks its end mark; when the bytes stop inside a frame,
   * that is a fault. Call once.
   */
  end(out: Frame[]): void;
  /** Bytes kept for a frame that is not whole yet. */
  keptBytes(): number;
  /** Why the bytes cannot be cut any further. */
  readonly fault: FramingFault | undefined;
}

/** A fault that the bytes themselves show. */
export type FramingFault = Extract<StreamFault, { readonly kind: "malformed" | "too-long" }>;

export interface FrameSplitterOptions {
  /** Longest frame in bytes, with its field names, headers and checksums. Default 8 MiB: some providers send whole images in one. */
  readonly frameBytesMax?: number;
}

const frameBytesMaxDefault = 8 * 1024 * 1024;

const creators: Readonly<Record<Framing, (frameBytesMax: number) => FrameSplitter>> = {
  sse: createSseSplitter,
  ndjson: createLineSplitter,
  "aws-event-stream": createAwsEventSplitter,
};

/** Creates the splitter of one streamed answer. Keeps at most the longest frame and the bytes of one push. */
export function createFrameSplitter(framing: Framing, options: FrameSplitterOptions = {}): FrameSplitter {
  return creators[framing](options.frameBytesMax ?? frameBytesMaxDefault);
}
