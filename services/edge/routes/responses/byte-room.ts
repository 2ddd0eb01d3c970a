/** Bytes of answers that are held in memory, over all requests. */
export interface ByteRoom {
  /** @returns false when there is no room; nothing is taken then */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

export function createByteRoom(bytesMax: number): ByteRoom {
  let total = 0;
  return {
    take(bytes) {
      if (total + bytes > bytesMax) return false;
      total += bytes;
      return true;
    },
    give(bytes) {
      total -= bytes;
    },
  };
}
