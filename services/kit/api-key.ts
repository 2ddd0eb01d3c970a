import { createHmac } from "node:crypto";
import { crc32 } from "node:zlib";

/**
 * The text of an API key: `weir_<id>_<secret>_<check>`, in base 32 of RFC 4648 in lower case without padding.
 * `id` (16 characters, 80 bits) names the key and is no secret; `secret` is 32 characters, 160 bits; `check` (7
 * characters) is the CRC-32 of all that stands before its underscore, so that a mistyped key is refused without a look
 * at any store, and secret scanners can be sure of a find.
 */
export interface KeyText {
  readonly id: string;
  /** The whole text: what a caller presents. Show it once, keep it nowhere. */
  readonly text: string;
}

/** A source of unpredictable bytes: `randomBytes` of node:crypto. */
export type RandomBytes = (size: number) => Uint8Array;

const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
const shape = /^weir_([a-z2-7]{16})_[a-z2-7]{32}_[a-z2-7]{7}$/;
const textLength = 62;
const checkLength = 7;

/** Makes a new key. */
export function createKeyText(random: RandomBytes): KeyText {
  const id = toBase32(random(10));
  const body = `weir_${id}_${toBase32(random(20))}`;
  return { id, text: `${body}_${checkOf(body)}` };
}

/** Reads the id out of a key's text; undefined when shape or check is wrong. Cheap: no HMAC, no allocation of bytes. */
export function parseKeyText(text: string): { readonly id: string } | undefined {
  if (text.length !== textLength) return undefined;
  const id = shape.exec(text)?.[1];
  if (id === undefined) return undefined;
  const end = textLength - checkLength;
  return text.slice(end) === checkOf(text.slice(0, end - 1)) ? { id } : undefined;
}

/**
 * HMAC-SHA-256 of a key's whole text under the pepper: 32 bytes, the only thing stores keep of it, and what keys are
 * looked up by: who lacks the pepper cannot tell what a text's digest is, so no time that a look-up takes helps to guess.
 */
export function keyDigest(pepper: Uint8Array, text: string): Buffer {
  return createHmac("sha256", pepper).update(text).digest();
}

function checkOf(body: string): string {
  let rest = crc32(body);
  let text = "";
  for (let index = 0; index < checkLength; index++) {
    text = alphabet[rest & 31] + text;
    rest >>>= 5;
  }
  return text;
}

/** @param bytes a multiple of 5, so that nothing is left over */
function toBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(held >>> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return text;
}
