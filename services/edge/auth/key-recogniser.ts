import { hash } from "node:crypto";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { keyDigest, parseKeyText } from "@weir/kit/api-key";
import { WeirError } from "@weir/kit/weir-error";
import type { KeyCaller, KeySnapshot } from "./snapshot.ts";

/** Texts whose HMAC need not be computed again; beyond it the one that came first is forgotten. */
const cacheMax = 65_536;

/**
 * Creates what finds the live key that a text is, in the time that says nothing of it: a key is looked up by the HMAC of its whole
 * text. Whoever lacks the pepper cannot choose an HMAC, so neither a known id nor a right beginning leads to other work than a
 * guess; bench/key-timing.ts measures it.
 * @returns undefined for a text that is no live key's. @throws WeirError API_KEY_INVALID for one that no key has: shape or check is wrong
 */
export function createKeyRecogniser(
  keys: Pick<KeySnapshot, "find">,
  pepper: Uint8Array,
): (text: string) => KeyCaller | undefined {
  // By hash, not by text, so that memory holds no key.
  const byHash = new Map<string, KeyCaller>();

  return (text) => {
    const hashed = hash("sha256", text, "hex");
    const known = byHash.get(hashed);
    if (known?.isLive) return known;
    if (known !== undefined) byHash.delete(hashed);
    if (parseKeyText(text) === undefined) throw new WeirError(ErrorReason.API_KEY_INVALID);
    const caller = keys.find(keyDigest(pepper, text));
    if (caller === undefined) return undefined;
    if (byHash.size >= cacheMax) byHash.delete(byHash.keys().next().value as string);
    byHash.set(hashed, caller);
    return caller;
  };
}
