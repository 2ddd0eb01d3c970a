import { type DescField, type DescMessage, type MessageShape, ScalarType } from "@bufbuild/protobuf";

type Fields = Readonly<Record<string, unknown>>;
type Bound = (message: Fields) => number;

/** What a tag, a number and two lengths may take, at most. */
const scalarBytes = 32;

/**
 * An upper bound of a message's encoded size, in bytes, from its object alone: cheap, and never too small. About three
 * times the size for text.
 */
export function sizeBound<M extends DescMessage>(schema: M, message: MessageShape<M>): number {
  return boundOf(schema)(message);
}

const bounds = new WeakMap<DescMessage, Bound>();

function boundOf(schema: DescMessage): Bound {
  let bound = bounds.get(schema);
  if (bound === undefined) {
    const parts: Bound[] = [];
    let constant = scalarBytes;
    bound = (message) => {
      let sum = constant;
      if (message["$unknown"] !== undefined) sum += valueBound(message["$unknown"]);
      for (let index = 0; index < parts.length; index += 1) sum += (parts[index] as Bound)(message);
      return sum;
    };
    // Known before its fields are compiled: a message may contain itself.
    bounds.set(schema, bound);
    for (const member of schema.members) {
      if (member.kind === "oneof") parts.push(oneofBound(member.localName, member.fields));
      else if (isNumber(member)) constant += scalarBytes;
      else parts.push(fieldBound(member));
    }
  }
  return bound;
}

function oneofBound(name: string, fields: readonly DescField[]): Bound {
  const byCase = new Map(fields.map((field) => [field.localName, singularBound(field)]));
  return (message) => {
    const oneof = message[name] as { case?: string; value?: unknown } | undefined;
    if (oneof?.case === undefined) return 0;
    return scalarBytes + (byCase.get(oneof.case)?.(oneof.value) ?? 0);
  };
}

function fieldBound(field: DescField): Bound {
  const name = field.localName;
  if (field.fieldKind === "map") {
    return (message) => {
      const entries = message[name] as Fields | undefined;
      let sum = 0;
      for (const key in entries) sum += scalarBytes + key.length * 3 + valueBound(entries[key]);
      return sum;
    };
  }
  const bound = singularBound(field);
  if (field.fieldKind === "list") {
    return (message) => {
      const items = message[name] as readonly unknown[] | undefined;
      if (items === undefined) return 0;
      let sum = scalarBytes;
      for (let index = 0; index < items.length; index += 1) sum += bound(items[index]);
      return sum;
    };
  }
  return (message) => {
    const value = message[name];
    return value === undefined ? 0 : bound(value);
  };
}

function singularBound(field: DescField): (value: unknown) => number {
  const schema = field.message;
  if (schema === undefined) return field.enum === undefined ? scalarBound(field.scalar) : fixedBound;
  // protobuf-es keeps well-known types unwrapped here and there.
  if (schema.typeName.startsWith("google.protobuf.")) return valueBound;
  const bound = boundOf(schema);
  return (value) => scalarBytes + bound(value as Fields);
}

function isNumber(field: DescField): boolean {
  if (field.fieldKind === "enum") return true;
  return field.fieldKind === "scalar" && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES;
}

const fixedBound = () => scalarBytes;

const textBound = (value: unknown) => (value as string).length * 3 + scalarBytes;
const bytesBound = (value: unknown) => (value as Uint8Array).length + scalarBytes;

function scalarBound(type: ScalarType): (value: unknown) => number {
  if (type === ScalarType.STRING) return textBound;
  return type === ScalarType.BYTES ? bytesBound : fixedBound;
}

/** The bound of a value of any form. */
function valueBound(value: unknown): number {
  switch (typeof value) {
    case "string":
      return value.length * 3 + scalarBytes;
    case "object":
      break;
    case "undefined":
      return 0;
    default:
      return scalarBytes;
  }
  if (value === null) return scalarBytes;
  if (value instanceof Uint8Array) return value.length + scalarBytes;
  let sum = scalarBytes;
  if (Array.isArray(value)) {
    for (const item of value) sum += valueBound(item);
    return sum;
  }
  const object = value as Fields;
  for (const name in object) sum += name.length * 3 + valueBound(object[name]) + scalarBytes;
  return sum;
}
