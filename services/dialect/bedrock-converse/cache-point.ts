import type { CacheControl } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { approximated } from "../events.ts";
import { unknownWord } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { readExactRecord } from "./members.ts";

const members = new Set(["type", "ttl"]);

const shortSeconds = 300;
const longSeconds = 3_600;

/** Reads a cache point, which stands behind what it ends. Without a lifetime: zero seconds, the vendor's default. */
export function readCachePoint(value: unknown, param: string): { readonly ttlSeconds: number } {
  const point = readExactRecord(value, members, param);
  if (point["type"] !== "default")
    throw unknownWord(point["type"], `\`${param}.type\` must be \`default\`.`, `${param}.type`);
  switch (point["ttl"] ?? undefined) {
    case undefined:
      return { ttlSeconds: 0 };
    case "5m":
      return { ttlSeconds: shortSeconds };
    case "1h":
      return { ttlSeconds: longSeconds };
    default:
      throw unknownWord(point["ttl"], `\`${param}.ttl\` must be \`5m\` or \`1h\`.`, `${param}.ttl`);
  }
}

/** The block to put behind what shall be cached. @param param the path of the mark in the canonical request */
export function writeCachePoint({ ttlSeconds }: CacheControl, param: string, warnings: Warning[]): JsonObject {
  if (ttlSeconds > longSeconds) {
    warnings.push(approximated(`${param}.ttl_seconds`, "Bedrock keeps its prompt cache for one hour at most."));
  }
  const ttl = ttlSeconds === 0 ? {} : { ttl: ttlSeconds <= shortSeconds ? "5m" : "1h" };
  return { cachePoint: { type: "default", ...ttl } };
}
