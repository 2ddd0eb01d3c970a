import type { CacheControl } from "@weir/gen/weir/chat/v1/conversation_pb";
import { untranslatable } from "../faults.ts";
import { readObject, readText } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import type { TargetTraits } from "./traits.ts";

/** The members by which a part or a tool asks for the prompt cache. */
export const cacheMembers = ["prompt_cache_breakpoint", "cache_control"] as const;

/**
 * Reads a mark for the prompt cache: OpenAI's `prompt_cache_breakpoint`, or Anthropic's `cache_control`, which OpenRouter and
 * others take in this dialect. A lifetime of 0 is the vendor's own.
 */
export function readCacheMark(members: JsonObject, param: string): { ttlSeconds: number } | undefined {
  for (const name of cacheMembers) {
    const mark = readObject(members[name], `${param}.${name}`);
    if (mark !== undefined) return { ttlSeconds: readTtl(mark["ttl"], `${param}.${name}.ttl`) };
  }
  return undefined;
}

const secondsPer: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

function readTtl(value: unknown, param: string): number {
  const text = readText(value, param);
  if (text === undefined) return 0;
  const [, count, unit = ""] = /^(\d{1,5})([smh])$/.exec(text) ?? [];
  if (count === undefined) throw untranslatable(`\`${param}\` must be a duration such as \`30m\`.`, param);
  return Number(count) * (secondsPer[unit] ?? 1);
}

/** Writes a mark in the target's way: the next lifetime up that it knows. Undefined when it knows no marks. */
export function writeCacheMark({ ttlSeconds }: CacheControl, { cacheMarks }: TargetTraits): JsonObject | undefined {
  switch (cacheMarks) {
    case "prompt_cache_breakpoint": {
      const ttl = ttlSeconds === 0 ? {} : { ttl: ttlSeconds <= 1_800 ? "30m" : "12h" };
      return { prompt_cache_breakpoint: { mode: "explicit", ...ttl } };
    }
    case "cache_control": {
      const ttl = ttlSeconds === 0 ? {} : { ttl: ttlSeconds <= 300 ? "5m" : "1h" };
      return { cache_control: { type: "ephemeral", ...ttl } };
    }
    case "none":
      return undefined;
  }
}
