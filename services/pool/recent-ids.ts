/** Remembers ids that were used lately, in bounded memory. */
export interface RecentIds {
  /** @returns false when the id was used before, as far as is remembered */
  add(id: string): boolean;
}

/** @param min how many of the newest ids are remembered at least; at most twice as many are */
export function createRecentIds(min: number): RecentIds {
  let newer = new Set<string>();
  let older = new Set<string>();
  return {
    add(id) {
      if (newer.has(id) || older.has(id)) return false;
      if (newer.size >= min) {
        older = newer;
        newer = new Set();
      }
      newer.add(id);
      return true;
    },
  };
}
