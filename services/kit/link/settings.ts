/** What the two sides of a link agree on without a word, and their bounds. */
export interface LinkOptions {
  /** Response bytes that a streaming call may be ahead of its reader. Default 128 KiB. */
  readonly windowBytes?: number | undefined;
  /** Calls that one link serves at once; further ones are refused with OVERLOADED. Default 10000. */
  readonly callsMax?: number | undefined;
  /** Bytes of incomplete requests that one link holds; further ones are refused with OVERLOADED. Default 256 MiB. */
  readonly bufferedBytesMax?: number | undefined;
  /** After so long a silence the peer is asked whether it lives; after another, the link is broken. Default 5 s. */
  readonly pingIntervalMs?: number | undefined;
}

export type LinkSettings = { readonly [K in keyof LinkOptions]-?: NonNullable<LinkOptions[K]> };

export function linkSettings(options: LinkOptions): LinkSettings {
  return {
    windowBytes: options.windowBytes ?? 128 * 1024,
    callsMax: options.callsMax ?? 10_000,
    bufferedBytesMax: options.bufferedBytesMax ?? 256 * 1024 * 1024,
    pingIntervalMs: options.pingIntervalMs ?? 5000,
  };
}

/**
 * Bytes that may be on their way before HTTP/2 makes their sender wait, on a stream and on its connection. Both ends read
 * whatever comes, so it is the credit of the calls that bounds memory; HTTP/2's own default of 64 KiB would only add round trips.
 */
export const http2WindowBytes = 4 * 1024 * 1024;

/** Largest message of the gRPC stream, in bytes. A batch stays far below. */
export const batchBytesMax = 4 * 1024 * 1024;

/** What a message costs of a call's credit beside its bytes: small ones take memory, too. */
export const messageCostBytes = 64;

/** Largest `start`, in bytes: metadata is kept for the whole call. */
export const startBytesMax = 64 * 1024;

/** Frames that a peer makes us send and does not read; beyond this the link ends. */
export const unreadBytesMax = 8 * 1024 * 1024;

export const openPath = "/weir.link.v1.LinkService/Open";

/** The stream's messages are encoded and read by hand. */
export function asIs(bytes: Buffer): Buffer {
  return bytes;
}
