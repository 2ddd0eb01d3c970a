import { create } from "@bufbuild/protobuf";
import { type CacheControl, CacheControlSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { unknownWord, untranslatable } from "../faults.ts";
import { readObject, readText } from "../fields.ts";
import type { JsonObject } from "../json.ts";

/** Reads `cache_control`. A lifetime of 0 is the vendor's default, five minutes; what else is asked of the cache is a hint. */
export function readCacheControl(value: unknown, param: string): CacheControl | undefined {
  const control = readObject(value, param);
  if (control === undefined) return undefined;
  if (control["type"] !== "ephemeral")
    throw unknownWord(control["type"], `\`${param}.type\` must be \`ephemeral\`.`, `${param}.type`);
  const ttl = readText(control["ttl"], `${param}.ttl`);
  if (ttl !== undefined && ttl !== "5m" && ttl !== "1h") {
    throw untranslatable(`\`${param}.ttl\` must be \`5m\` or \`1h\`.`, `${param}.ttl`);
  }
  return create(CacheControlSchema, { ttlSeconds: ttl === undefined ? 0 : ttl === "5m" ? 300 : 3_600 });
}

/** Writes a lifetime as the next one up that the vendor knows; one hour is the longest. */
export function writeCacheControl({ ttlSeconds }: CacheControl): JsonObject {
  return { type: "ephemeral", ...(ttlSeconds === 0 ? {} : { ttl: ttlSeconds <= 300 ? "5m" : "1h" }) };
}
