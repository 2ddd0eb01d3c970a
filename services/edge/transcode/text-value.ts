import { type DescField, type DescMessage, type JsonValue, ScalarType } from "@bufbuild/protobuf";
import { invalid } from "./faults.ts";

/**
 * The proto JSON of a value that a path or a query has as text. Ranges are left to who reads the JSON.
 * @param field a scalar, an enum, a message that is one value in JSON, or a list of these, of which the text is one item
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readText(field: DescField, text: string, param: string): JsonValue {
  const value = field.message === undefined ? readSingle(field, text) : readLeafMessage(field.message, text);
  if (value === undefined) throw invalid(`\`${param}\` has a value that it cannot have.`, param);
  return value;
}

const wholeNumber = /^-?\d{1,20}$/;
// https://www.rfc-editor.org/rfc/rfc8259#section-6, and what proto JSON has for what no number can say
const decimal = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|NaN|-?Infinity)$/;
const base64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

function readSingle(field: DescField, text: string): JsonValue | undefined {
  // Names go before numbers; a number may be one that only later versions have a name for.
  if (field.enum !== undefined) return wholeNumber.test(text) ? Number(text) : text;
  return field.scalar === undefined ? undefined : readScalar(field.scalar, text);
}

function readScalar(type: ScalarType, text: string): JsonValue | undefined {
  switch (type) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BOOL:
      return text === "true" ? true : text === "false" ? false : undefined;
    case ScalarType.BYTES:
      // In queries `+` is a space once it is decoded.
      return base64.test(text.replaceAll(" ", "+")) ? text.replaceAll(" ", "+") : undefined;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return decimal.test(text) ? text : undefined;
    default:
      return wholeNumber.test(text) ? text : undefined;
  }
}

function readLeafMessage({ fields, typeName }: DescMessage, text: string): JsonValue | undefined {
  const isText = ["Timestamp", "Duration", "FieldMask"].some((name) => typeName === `google.protobuf.${name}`);
  const [value] = fields;
  // What is left are wrappers.
  return isText || value?.scalar === undefined ? text : readScalar(value.scalar, text);
}
