import type { Encoding } from "./embedding.ts";

/**
 * One vector as it came: numbers, or base64 of 32-bit floats, the lowest byte first, which is how
 * https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-encoding_format is decoded by OpenAI's clients.
 */
export type Vector = readonly number[] | string;

/**
 * The length of a vector.
 * @returns undefined for what is none: no numbers, no whole base64 of floats, nothing at all, or a number that is not finite
 */
export function vectorLength(value: unknown): number | undefined {
  if (typeof value === "string") return decodeVector(value)?.length;
  return Array.isArray(value) && value.length > 0 && value.every(Number.isFinite) ? value.length : undefined;
}

/**
 * A vector in an encoding. Base64 of numbers holds each rounded to the nearest 32-bit float; numbers of base64 are exact,
 * but JSON has no sign of zero.
 * @returns undefined for a number that no 32-bit float is near, and for base64 that holds no vector
 */
export function encodeVector(vector: Vector, encoding: Encoding): Vector | undefined {
  if (typeof vector === "string") return encoding === "base64" ? vector : decodeVector(vector);
  return encoding === "float" ? vector : toBase64(vector);
}

const floatBytes = 4;

function toBase64(numbers: readonly number[]): string | undefined {
  const bytes = Buffer.allocUnsafe(numbers.length * floatBytes);
  for (const [index, number] of numbers.entries()) {
    if (!Number.isFinite(Math.fround(number))) return undefined;
    bytes.writeFloatLE(number, index * floatBytes);
  }
  return bytes.toString("base64");
}

function decodeVector(base64: string): number[] | undefined {
  // `Buffer.from` passes over what is no base64.
  if (base64 === "" || base64.length % 4 !== 0 || !base64Shape.test(base64)) return undefined;
  const bytes = Buffer.from(base64, "base64");
  if (bytes.length % floatBytes !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const numbers: number[] = [];
  for (let at = 0; at < bytes.length; at += floatBytes) {
    const number = view.getFloat32(at, true);
    if (!Number.isFinite(number)) return undefined;
    numbers.push(number);
  }
  return numbers;
}

const base64Shape = /^[A-Za-z0-9+/]*={0,2}$/;
