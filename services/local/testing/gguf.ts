import { Buffer } from "node:buffer";

/** A value of a GGUF file's metadata, with its type. */
export type GgufValue =
  | { readonly uint32: number }
  | { readonly float32: number }
  | { readonly boolean: boolean }
  | { readonly text: string }
  | { readonly texts: readonly string[] }
  | { readonly floats: readonly number[] }
  | { readonly integers: readonly number[] };

/** A tensor of 32-bit floats. */
export interface GgufTensor {
  readonly name: string;
  /** The fastest-running dimension first, as GGML has it. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
const version = 3;
const alignment = 32;
const types = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

/** Writes a GGUF file. Pure. */
export function writeGguf(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Buffer {
  const entries = Object.entries(metadata);
  const head: Buffer[] = [Buffer.from("GGUF"), u32(version), u64(tensors.length), u64(entries.length)];
  for (const [key, value] of entries) head.push(text(key), Buffer.concat(writeValue(value)));
  const bodies: Buffer[] = [];
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    head.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset));
    const body = aligned(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    bodies.push(body);
    offset += body.length;
  }
  return Buffer.concat([aligned(Buffer.concat(head)), ...bodies]);
}

function writeValue(value: GgufValue): Buffer[] {
  if ("uint32" in value) return [u32(types.uint32), u32(value.uint32)];
  if ("float32" in value) return [u32(types.float32), f32(value.float32)];
  if ("boolean" in value) return [u32(types.bool), Buffer.of(value.boolean ? 1 : 0)];
  if ("text" in value) return [u32(types.string), text(value.text)];
  if ("texts" in value) return array(types.string, value.texts.map(text));
  if ("floats" in value) return array(types.float32, value.floats.map(f32));
  return array(types.int32, value.integers.map(i32));
}

function array(type: number, items: readonly Buffer[]): Buffer[] {
  return [u32(types.array), u32(type), u64(items.length), ...items];
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function aligned(bytes: Buffer): Buffer {
  const rest = bytes.length % alignment;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(alignment - rest)]);
}
