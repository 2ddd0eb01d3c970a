/** Bytes that came and wait for more. */
export interface KeptBytes {
  length(): number;
  /** Keeps more. What is kept first is not copied: do not write to it afterwards. */
  append(bytes: Buffer): void;
  /** What is kept. */
  view(): Buffer;
  /** What is kept with `last` behind it; keeps nothing from then on. Does not copy when only one of the two holds bytes. */
  take(last?: Buffer): Buffer;
}

const nothing = Buffer.alloc(0);

/** Takes as much memory as twice the bytes kept, and linear time, however small the pieces are. */
export function createKeptBytes(): KeptBytes {
  let store: Buffer = nothing; // may have room behind `length`, unless it is the caller's own
  let length = 0;

  return {
    length: () => length,
    append(bytes) {
      if (length === 0) {
        store = bytes;
        length = bytes.length;
        return;
      }
      if (length + bytes.length > store.length) {
        const larger = Buffer.allocUnsafe(2 * (length + bytes.length));
        store.copy(larger, 0, 0, length);
        store = larger;
      }
      length += bytes.copy(store, length);
    },
    view: () => store.subarray(0, length),
    take(last = nothing) {
      const kept = store.subarray(0, length);
      store = nothing;
      length = 0;
      if (kept.length === 0) return last;
      return last.length === 0 ? kept : Buffer.concat([kept, last]);
    },
  };
}
