import {
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  type JsonObject,
  type MessageInitShape,
  type MessageShape,
  ScalarType,
} from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { ByteWriter } from "./byte-writer.ts";

type Fields = Readonly<Record<string, unknown>>;
/** Writes one message's fields, or one field, backwards. */
type WriteMessage = (message: Fields, out: ByteWriter) => void;
type WriteValue = (value: never, out: ByteWriter) => void;

const wireVarint = 0;
const wire64 = 1;
const wireLength = 2;
const wire32 = 5;

const shared = new ByteWriter();

/**
 * Encodes a message, or what `create` would make one of; many times as fast as toBinary, with equal bytes.
 * @param out where to; default: the one writer that all such calls share, whose bytes are valid until the next of them
 * @throws TypeError when a value does not fit its field
 */
export function encode<M extends DescMessage>(schema: M, message: MessageInitShape<M>, out = shared): ByteWriter {
  out.reset();
  writerOf(schema)(message, out);
  return out;
}

/** As `encode`, into memory of its own. */
export function encodeToBytes<M extends DescMessage>(schema: M, message: MessageInitShape<M>): Buffer {
  const out = encode(schema, message);
  const bytes = Buffer.allocUnsafe(out.length);
  out.copyTo(bytes, 0);
  return bytes;
}

/** Decodes a message. Its `bytes` fields are views of the given memory. */
export function decode<M extends DescMessage>(schema: M, bytes: Uint8Array): MessageShape<M> {
  let envelope = envelopes.get(schema);
  if (envelope === undefined) {
    envelope = envelopeOf(schema);
    envelopes.set(schema, envelope);
  }
  return (envelope?.(bytes) as MessageShape<M> | undefined) ?? fromBinary(schema, bytes);
}

/** Reads a message that is nothing but bytes inside one other message; undefined for any other. */
type Envelope = ((bytes: Uint8Array) => Message | undefined) | null;

const envelopes = new WeakMap<DescMessage, Envelope>();

/** `{wire: {data}}`, the shape of every streamed chunk, is read without a reader: a third of fromBinary's cost. */
function envelopeOf(schema: DescMessage): Envelope {
  const [oneof, ...others] = schema.members;
  const outer = schema.fields.find((field) => field.number === 1);
  const inner = outer?.message?.fields.find((field) => field.number === 1);
  if (oneof?.kind !== "oneof" || others.length > 0 || outer?.message === undefined) return null;
  if (inner?.fieldKind !== "scalar" || inner.scalar !== ScalarType.BYTES || inner.oneof !== undefined) return null;
  if (outer.message.fields.some((field) => field !== inner && field.fieldKind !== "message")) return null;
  const innerName = inner.localName;
  const innerType = outer.message.typeName;
  return (bytes) => {
    const innerAt = onlyField(bytes, 0);
    const dataAt = innerAt === 0 ? 0 : onlyField(bytes, innerAt);
    if (dataAt === 0) return undefined;
    const value = { $typeName: innerType, [innerName]: bytes.subarray(dataAt) };
    return { $typeName: schema.typeName, [oneof.localName]: { case: outer.localName, value } };
  };
}

/** Where the content begins when all the rest is field 1 and of a length; else 0. */
function onlyField(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== 0x0a) return 0;
  let length = 0;
  let scale = 1;
  for (let index = at + 1; index < bytes.length && index < at + 5; index += 1) {
    const byte = bytes[index] as number;
    length += (byte & 0x7f) * scale;
    if (byte < 0x80) return index + 1 + length === bytes.length ? index + 1 : 0;
    scale *= 0x80;
  }
  return 0;
}

const writers = new WeakMap<DescMessage, WriteMessage>();

function writerOf(schema: DescMessage): WriteMessage {
  let writer = writers.get(schema);
  if (writer === undefined) {
    const fields: WriteMessage[] = [];
    writer = (message, out) => {
      const unknown = message["$unknown"] as UnknownFields;
      if (unknown !== undefined) writeUnknown(unknown, out);
      for (let index = 0; index < fields.length; index += 1) fields[index]?.(message, out);
    };
    // Known before its fields are compiled: a message may contain itself.
    writers.set(schema, writer);
    for (const field of [...schema.fields].toSorted((a, b) => b.number - a.number)) fields.push(fieldWriter(field));
  }
  return writer;
}

type UnknownFields =
  | readonly { readonly no: number; readonly wireType: number; readonly data: Uint8Array }[]
  | undefined;

function writeUnknown(unknown: NonNullable<UnknownFields>, out: ByteWriter): void {
  for (const { no, wireType, data } of unknown.toReversed()) {
    out.raw(data);
    out.varint(tagOf(no, wireType));
  }
}

function tagOf(number: number, wireType: number): number {
  return ((number << 3) | wireType) >>> 0;
}

function fieldWriter(field: DescField): WriteMessage {
  switch (field.fieldKind) {
    case "list":
      return listWriter(field);
    case "map":
      return mapWriter(field);
    default:
      return singularWriter(field);
  }
}

type SingularField = DescField & { fieldKind: "scalar" | "enum" | "message" };

function singularWriter(field: SingularField): WriteMessage {
  const name = field.localName;
  const write = valueWriter(field);
  const tag = tagOf(field.number, wireTypeOf(field));
  if (field.oneof !== undefined) {
    const oneofName = field.oneof.localName;
    return (message, out) => {
      const oneof = message[oneofName] as { case?: string; value?: unknown } | undefined;
      if (oneof?.case !== name) return;
      write(oneof.value as never, out);
      out.varint(tag);
    };
  }
  const isZero = zeroTest(field);
  return (message, out) => {
    const value = message[name];
    if (value === undefined || value === null || isZero(value)) return;
    write(value as never, out);
    out.varint(tag);
  };
}

const implicitPresence = 2;

/** Tells the values that are not sent: those that equal the zero value where there is no presence. */
function zeroTest(field: SingularField): (value: unknown) => boolean {
  if (field.fieldKind === "message" || field.presence !== implicitPresence) return () => false;
  if (field.fieldKind === "enum") return (value) => value === 0;
  switch (field.scalar) {
    case ScalarType.STRING:
      return (value) => value === "";
    case ScalarType.BOOL:
      return (value) => value === false;
    case ScalarType.BYTES:
      return (value) => (value as Uint8Array).length === 0;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return (value) => Object.is(value, 0);
    default:
      return (value) => value === 0 || value === 0n || value === "0";
  }
}

function listWriter(field: DescField & { fieldKind: "list" }): WriteMessage {
  const name = field.localName;
  const write = valueWriter(field);
  const { packed } = field;
  const tag = tagOf(field.number, packed ? wireLength : wireTypeOf(field));
  return (message, out) => {
    const items = message[name] as readonly unknown[] | undefined;
    if (items === undefined || items.length === 0) return;
    const before = out.length;
    for (let index = items.length - 1; index >= 0; index -= 1) {
      write(items[index] as never, out);
      if (!packed) out.varint(tag);
    }
    if (packed) {
      out.varint(out.length - before);
      out.varint(tag);
    }
  };
}

function mapWriter(field: DescField & { fieldKind: "map" }): WriteMessage {
  const name = field.localName;
  const write = valueWriter(field);
  const writeKey = scalarWriter(field.mapKey);
  const toKey = mapKeyReader(field.mapKey);
  const tag = tagOf(field.number, wireLength);
  const keyTag = tagOf(1, scalarWireType(field.mapKey));
  const valueTag = tagOf(2, wireTypeOf(field));
  return (message, out) => {
    const entries = message[name] as Fields | undefined;
    if (entries === undefined) return;
    const keys = Object.keys(entries);
    for (let index = keys.length - 1; index >= 0; index -= 1) {
      const key = keys[index] as string;
      const before = out.length;
      write(entries[key] as never, out);
      out.varint(valueTag);
      writeKey(toKey(key) as never, out);
      out.varint(keyTag);
      out.varint(out.length - before);
      out.varint(tag);
    }
  };
}

function mapKeyReader(type: ScalarType): (key: string) => unknown {
  switch (type) {
    case ScalarType.STRING:
      return (key) => key;
    case ScalarType.BOOL:
      return (key) => key === "true";
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return BigInt;
    default:
      return Number;
  }
}

/** How a field's value is written without its tag. */
function valueWriter(field: DescField): WriteValue {
  if (field.message !== undefined) return messageWriter(field, field.message);
  if (field.enum !== undefined) return scalarWriter(ScalarType.INT32);
  return scalarWriter(field.scalar);
}

function messageWriter(field: DescField, schema: DescMessage): WriteValue {
  if ("delimitedEncoding" in field && field.delimitedEncoding) {
    throw new Error(`${field.parent.typeName}.${field.name}: groups are not supported`);
  }
  const write = writerOf(schema);
  const toMessage = messageReader(field, schema);
  return (value: unknown, out) => {
    const before = out.length;
    write(toMessage(value), out);
    out.varint(out.length - before);
  };
}

/** From a field's value to the message that it stands for: protobuf-es keeps some well-known types unwrapped. */
function messageReader(field: DescField, schema: DescMessage): (value: unknown) => Fields {
  if (schema.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value") {
    return (value) => ({ fields: structFields(value as JsonObject) });
  }
  if (field.fieldKind === "message" && field.oneof === undefined && isWrapperDesc(schema)) {
    return (value) => ({ value });
  }
  return (value) => (value ?? {}) as Fields;
}

function structFields(json: JsonObject): Fields {
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, structValue(value)]));
}

function structValue(value: unknown): Fields {
  switch (typeof value) {
    case "string":
      return { kind: { case: "stringValue", value } };
    case "number":
      return { kind: { case: "numberValue", value } };
    case "boolean":
      return { kind: { case: "boolValue", value } };
    default:
      break;
  }
  if (Array.isArray(value)) return { kind: { case: "listValue", value: { values: value.map(structValue) } } };
  if (value === null || value === undefined) return { kind: { case: "nullValue", value: 0 } };
  return { kind: { case: "structValue", value: { fields: structFields(value as JsonObject) } } };
}

function wireTypeOf(field: DescField): number {
  if (field.message !== undefined) return wireLength;
  return field.enum === undefined ? scalarWireType(field.scalar) : wireVarint;
}

function scalarWireType(type: ScalarType): number {
  switch (type) {
    case ScalarType.BYTES:
    case ScalarType.STRING:
      return wireLength;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return wire64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return wire32;
    default:
      return wireVarint;
  }
}

const scalarWriters: Record<ScalarType, WriteValue> = {
  [ScalarType.STRING]: (value: string, out) => out.lengthAndText(value),
  [ScalarType.BYTES]: (value: Uint8Array, out) => out.lengthAndBytes(value),
  [ScalarType.BOOL]: (value: boolean, out) => out.bool(value),
  [ScalarType.UINT32]: (value: number, out) => out.uint32(value),
  [ScalarType.INT32]: (value: number, out) => out.int32(value),
  [ScalarType.SINT32]: (value: number, out) => out.sint32(value),
  [ScalarType.UINT64]: (value: bigint, out) => out.uint64(value),
  [ScalarType.INT64]: (value: bigint, out) => out.int64(value),
  [ScalarType.SINT64]: (value: bigint, out) => out.sint64(value),
  [ScalarType.FIXED32]: (value: number, out) => out.fixed32(value),
  [ScalarType.SFIXED32]: (value: number, out) => out.sfixed32(value),
  [ScalarType.FIXED64]: (value: bigint, out) => out.fixed64(value),
  [ScalarType.SFIXED64]: (value: bigint, out) => out.sfixed64(value),
  [ScalarType.FLOAT]: (value: number, out) => out.float(value),
  [ScalarType.DOUBLE]: (value: number, out) => out.double(value),
};

function scalarWriter(type: ScalarType): WriteValue {
  return scalarWriters[type];
}
