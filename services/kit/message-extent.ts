import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "./weir-error.ts";

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
    left = walk(contentsOf(schema), new BinaryReader(bytes), bytes.length, fieldsMax, 0);
  } catch {
    return; // no message; the decoder says so
  }
  if (left < 0) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: `The message has more than ${fieldsMax} fields.` });
  }
}

/** What the bytes of a field hold, by its number: fields again, numbers one after another, or one value. */
type Contents = (number: number) => Contents | "packed" | undefined;

const contentsByMessage = new WeakMap<DescMessage, Contents>();

function contentsOf(schema: DescMessage): Contents {
  const known = contentsByMessage.get(schema);
  if (known !== undefined) return known;
  const fields = new Map(schema.fields.map((field) => [field.number, field]));
  const contents: Contents = (number) => contentOf(fields.get(number));
  contentsByMessage.set(schema, contents);
  return contents;
}

function contentOf(field: DescField | undefined): ReturnType<Contents> {
  if (field === undefined) return undefined;
  const inner = field.message;
  // An entry of a map is a message with the key as field 1 and the value as field 2.
  if (field.fieldKind === "map")
    return (number) => (number === 2 && inner !== undefined ? contentsOf(inner) : undefined);
  if (inner !== undefined) return contentsOf(inner);
  const isList = field.fieldKind === "list";
  return isList && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES ? "packed" : undefined;
}

/** @returns how many more fields there may be; less than 0: there are too many already */
function walk(contents: Contents, reader: BinaryReader, end: number, most: number, depth: number): number {
  let left = most;
  while (reader.pos < end && left >= 0) {
    const [number, wireType] = reader.tag();
    left -= 1;
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const length = reader.uint32();
    const after = reader.pos + length;
    const content = contents(number);
    if (content === "packed") left -= length;
    else if (content !== undefined && depth < depthMax) left = walk(content, reader, after, left, depth + 1);
    reader.pos = after;
  }
  return left;
}
