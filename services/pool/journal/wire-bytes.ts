import type { Cursor } from "./record.ts";

// How protobuf writes fields, onto a cursor that has room for them.

/** Thrown by writers for a number that its field cannot hold. */
export class NumberOutOfRange extends Error {
  override readonly name = "NumberOutOfRange";
}

export function writeText(cursor: Cursor, tag: number, text: string): void {
  if (text === "") return;
  cursor.bytes[cursor.at++] = tag;
  writeBytesOf(cursor, text);
}

export function writeBytesOf(cursor: Cursor, text: string): void {
  const start = cursor.at + 1;
  cursor.at = start + (writeShort(cursor.bytes, start, text) || cursor.bytes.write(text, start));
  endMessage(cursor, start);
}

/** Short ASCII takes two thirds of the time of a native call. Returns 0 for any other text. */
function writeShort(bytes: Buffer, at: number, text: string): number {
  const length = text.length;
  if (length > 16) return 0;
  for (let i = 0; i < length; i += 1) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return 0;
    bytes[at + i] = code;
  }
  return length;
}

/** Writes fields that are encoded already. */
export function writeEncoded(cursor: Cursor, fields: Uint8Array): void {
  cursor.bytes.set(fields, cursor.at);
  cursor.at += fields.length;
}

/** Leaves one byte for the length of what follows. Returns where that begins. */
export function beginMessage(cursor: Cursor, tag: number): number {
  cursor.bytes[cursor.at] = tag;
  cursor.at += 2;
  return cursor.at;
}

/** Writes the length of what began at `start`; moves it where the length takes more than the byte that was left. */
export function endMessage(cursor: Cursor, start: number): void {
  const length = cursor.at - start;
  if (length < 0x80) {
    cursor.bytes[start - 1] = length;
    return;
  }
  const extra = length < 0x4000 ? 1 : 2;
  cursor.bytes.copyWithin(start + extra, start, cursor.at);
  const end = cursor.at + extra;
  cursor.at = start - 1;
  writeVarint(cursor, length);
  cursor.at = end;
}

export function writeUint32(cursor: Cursor, tag: number, value: number): void {
  if (value >>> 0 !== value) throw new NumberOutOfRange();
  writeUint(cursor, tag, value);
}

export function writeUint(cursor: Cursor, tag: number, value: number): void {
  cursor.bytes[cursor.at++] = tag;
  writeVarint(cursor, value);
}

/** @param value a whole number from 0 to 2^53 - 1 */
export function writeVarint(cursor: Cursor, value: number): void {
  const bytes = cursor.bytes;
  let at = cursor.at;
  let rest = value;
  while (rest >= 0x8000_0000) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  cursor.at = at;
}

/** @throws NumberOutOfRange for what is no whole number from 0 to 2^53 - 1 */
export function safe(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new NumberOutOfRange();
  return value;
}
