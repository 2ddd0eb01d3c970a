import { type Limit, limitName } from "./limit.ts";

/** Limits of one group are asked for together, and no more than so many groups are. */
const bucketCount = 16;

/** The bucket of a limit: all those of a tenant are in one. */
export function bucketOf({ group, id }: Limit): number {
  const text = group ?? id;
  let hash = 0;
  for (let index = 0; index < text.length; index++) hash = (hash * 31 + text.charCodeAt(index)) | 0;
  return (hash >>> 0) % bucketCount;
}

/** The key of a limit in Redis. What is in braces decides on its slot in a cluster. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags */
export function leaseKey(limit: Limit): string {
  return `weir:limits:{${bucketOf(limit)}}:${limitName(limit)}`;
}
