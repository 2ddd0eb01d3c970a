import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** Most fields of a message and of all that is in it, as many as JSON may have values: each becomes an object, which may cost two bytes. */
const fieldsMax = 1_000_000;
/** The decoder goes no deeper, and refuses what does. */
const depthMax = 100;

/**
 * Refuses an encoded message that is too much to be built. What is no message is left to the decoder.
 * @throws WeirError INVALID_REQUEST for more than a million fields
 */
export function checkMessageExtent(schema: DescMessage, bytes: Uint8Array): void {
  // A field takes two bytes at least.
  if (bytes.length <= 2 * fieldsMax) return;
  let left: number;
  try {
    left = walk(schema, new BinaryReader(bytes), bytes.length, fieldsMax, 0);
  } catch {
    return; // no message; the decoder says so
  }
  if (left < 0) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: `The message has more than ${fieldsMax} fields.` });
  }
}

const fieldsByNumber = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(schema: DescMessage): ReadonlyMap<number, DescField> {
  const known = fieldsByNumber.get(schema) ?? new Map(schema.fields.map((field) => [field.number, field]));
  fieldsByNumber.set(schema, known);
  return known;
}

/** @returns how many more fields there may be; less than 0: there are too many already */
function walk(schema: DescMessage | undefined, reader: BinaryReader, end: number, most: number, depth: number): number {
  let left = most;
  const fields = schema && fieldsOf(schema);
  while (reader.pos < end && left >= 0) {
    const [number, wireType] = reader.tag();
    left -= 1;
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const length = reader.uint32();
    const field = fields?.get(number);
    const inner = reader.pos + length;
    if (field?.fieldKind === "map") left = walkEntry(field.message, reader, inner, left, depth + 1);
    else if (field?.message !== undefined && depth < depthMax) {
      left = walk(field.message, reader, inner, left, depth + 1);
    } else if (isPacked(field)) left -= length;
    reader.pos = inner;
  }
  return left;
}

/** One entry of a map, whose value may be a message. */
function walkEntry(
  value: DescMessage | undefined,
  reader: BinaryReader,
  end: number,
  most: number,
  depth: number,
): number {
  let left = most;
  while (reader.pos < end && left >= 0) {
    const [number, wireType] = reader.tag();
    left -= 1;
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const inner = reader.uint32() + reader.pos;
    if (number === 2 && value !== undefined && depth < depthMax) left = walk(value, reader, inner, left, depth + 1);
    reader.pos = inner;
  }
  return left;
}

/** Whether the bytes of a field are numbers one after another. */
function isPacked(field: DescField | undefined): boolean {
  if (field?.fieldKind !== "list") return false;
  return field.listKind === "enum" || (field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES);
}
