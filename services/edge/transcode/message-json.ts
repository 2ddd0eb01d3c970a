import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { invalid } from "./faults.ts";
import { isLeafMessage, isOpenMessage } from "./fields.ts";
import { type ExactJson, isObject, LongNumber, pathOf, put } from "./json.ts";

/**
 * Reads a message from its proto JSON, strictly: names in both spellings, each once; 64-bit integers as texts or numbers, whatever
 * their length; no unknown names. https://protobuf.dev/programming-guides/json/
 * @param json what parseStrict gave; it is changed
 * @throws WeirError INVALID_REQUEST with the path of the field at fault as `param`, in names of the proto. Values are never quoted
 */
export function readMessage(schema: DescMessage, json: ExactJson): Message {
  const plain = readObject(schema, json, []);
  try {
    return fromJson(schema, plain);
  } catch {
    throw blame(findFault(schema, plain, []) ?? []);
  }
}

type Path = readonly (string | number)[];

function blame(path: Path): Error {
  const text = pathOf(path);
  if (text === "") return invalid("The request is not what its schema says.");
  return invalid(`\`${text}\` has a value that it cannot have.`, text);
}

const fieldsByName = new WeakMap<DescMessage, ReadonlyMap<string, DescField>>();

/** Fields by both of their names. */
function fieldsOf(schema: DescMessage): ReadonlyMap<string, DescField> {
  const known = fieldsByName.get(schema);
  if (known !== undefined) return known;
  const fields = new Map(schema.fields.flatMap((field) => [[field.name, field] as const, [field.jsonName, field]]));
  fieldsByName.set(schema, fields);
  return fields;
}

/** Checks what fromJson does not, or does not tell the place of; gives what fromJson can read. */
function readObject(schema: DescMessage, json: ExactJson, path: Path): JsonValue {
  if (isOpenMessage(schema)) return withDoubles(json, path);
  if (isLeafMessage(schema)) return readLeaf(schema, json, path);
  if (!isObject(json)) return json as JsonValue;
  const fields = fieldsOf(schema);
  const seen = new Set<DescField | object>();
  for (const name of Object.keys(json)) {
    const field = fields.get(name);
    if (field === undefined) throw unknown([...path, name]);
    const value = json[name] as ExactJson;
    const here = [...path, field.name];
    if (seen.has(field)) throw invalid(`\`${pathOf(here)}\` stands more than once.`, pathOf(here));
    seen.add(field);
    if (field.oneof !== undefined && value !== null) {
      if (seen.has(field.oneof)) {
        throw invalid(`\`${pathOf(here)}\` excludes another field that is there.`, pathOf(here));
      }
      seen.add(field.oneof);
    }
    json[name] = readField(field, value, here);
  }
  return json;
}

function unknown(path: Path): Error {
  const text = pathOf(path);
  return invalid(text === "" ? "There is no such field." : `There is no field \`${text}\`.`, text);
}

function readField(field: DescField, json: ExactJson, path: Path): JsonValue {
  switch (field.fieldKind) {
    case "scalar":
      return readScalar(field.scalar, json);
    case "message":
      return json === null ? null : readObject(field.message, json, path);
    case "list":
      if (Array.isArray(json)) {
        for (const [index, item] of json.entries()) json[index] = readItem(field, item, [...path, index]);
      }
      return json as JsonValue;
    case "map":
      if (isObject(json)) {
        for (const key of Object.keys(json)) put(json, key, readItem(field, json[key] as ExactJson, [...path, key]));
      }
      return json as JsonValue;
    case "enum":
      return json as JsonValue;
  }
}

function readItem(
  field: DescField & ({ fieldKind: "list" } | { fieldKind: "map" }),
  json: ExactJson,
  path: Path,
): JsonValue {
  if (field.message !== undefined) return readObject(field.message, json, path);
  return field.scalar === undefined ? (json as JsonValue) : readScalar(field.scalar, json);
}

const longTypes: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
  ScalarType.SINT64,
]);
const decimalTypes: ReadonlySet<ScalarType> = new Set([ScalarType.DOUBLE, ScalarType.FLOAT]);

/** A long number stays exact as the text of an integer; for a decimal the nearest double is what was meant. */
function readScalar(type: ScalarType, json: ExactJson): JsonValue {
  if (!(json instanceof LongNumber)) return json;
  if (longTypes.has(type) && /^-?\d+$/.test(json.text)) return json.text;
  // An object is nothing that any scalar can be.
  return decimalTypes.has(type) ? Number(json.text) : {};
}

// fromJson takes what stands after the `s`, too.
const durationShape = /^-?\d{1,12}(?:\.\d{1,9})?s$/;

function readLeaf(schema: DescMessage, json: ExactJson, path: Path): JsonValue {
  if (schema.typeName === "google.protobuf.Duration" && !(typeof json === "string" && durationShape.test(json))) {
    throw blame(path);
  }
  if (schema.typeName === "google.protobuf.Timestamp" && !(typeof json === "string" && isOfCalendar(json))) {
    throw blame(path);
  }
  const [value] = schema.fields;
  return json instanceof LongNumber ? readScalar(value?.scalar ?? ScalarType.BOOL, json) : json;
}

/** Whether a time's day and hour are there; fromJson takes February 30 for March 2, and 24:00 for the next day. Its form is left to fromJson. */
function isOfCalendar(text: string): boolean {
  const [, year, month, day, hour] = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):/.exec(text) ?? [];
  // Years repeat after 400; those below 100 would be of the last century.
  const lastDay = new Date(Date.UTC(2000 + (Number(year) % 400), Number(month), 0)).getUTCDate();
  return Number(day) <= lastDay && Number(hour) <= 23;
}

/** Free-form JSON knows no numbers but doubles. */
function withDoubles(json: ExactJson, path: Path): JsonValue {
  if (json instanceof LongNumber) {
    const value = Number(json.text);
    if (!Number.isFinite(value)) throw blame(path);
    return value;
  }
  if (Array.isArray(json)) {
    for (const [index, item] of json.entries()) json[index] = withDoubles(item, [...path, index]);
  } else if (isObject(json)) {
    for (const name of Object.keys(json)) put(json, name, withDoubles(json[name] as ExactJson, [...path, name]));
  }
  return json;
}

/** Where the value is that fromJson does not take: the first leaf that does not stand alone either. */
function findFault(schema: DescMessage, json: JsonValue, path: Path): Path | undefined {
  if (!isObject(json) || isLeafMessage(schema) || isOpenMessage(schema)) return path;
  for (const [name, value] of Object.entries(json)) {
    const field = fieldsOf(schema).get(name);
    if (field === undefined || fits(schema, { [name]: value })) continue;
    return findIn(field, value, [...path, field.name]);
  }
  return undefined;
}

function findIn(field: DescField, json: JsonValue, path: Path): Path {
  const inner = field.message;
  if (inner === undefined) return path;
  if (field.fieldKind === "message") return findFault(inner, json, path) ?? path;
  const items: [string | number, JsonValue][] = Array.isArray(json)
    ? [...json.entries()]
    : isObject(json)
      ? Object.entries(json)
      : [];
  for (const [index, item] of items) {
    if (item === null || !fits(inner, item)) return findFault(inner, item, [...path, index]) ?? [...path, index];
  }
  return path;
}

function fits(schema: DescMessage, json: JsonValue): boolean {
  try {
    fromJson(schema, json);
    return true;
  } catch {
    return false;
  }
}
