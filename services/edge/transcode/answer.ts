import {
  create,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from "@bufbuild/protobuf";

/**
 * Writes answers of one method as proto JSON: names in lowerCamelCase, 64-bit integers as texts, defaults left out.
 * @param field whose value is the answer; undefined: all of the message. A field that is not set is written as its default: an
 *   empty list, 0, "", or null for a message
 */
export function createAnswerWriter(schema: DescMessage, field: DescField | undefined): (message: Message) => string {
  if (field === undefined) return (message) => JSON.stringify(toJson(schema, message));
  const defaults = toJson(schema, create(schema), { alwaysEmitImplicit: true }) as JsonObject;
  const empty: JsonValue = defaults[field.jsonName] ?? null;
  return (message) => JSON.stringify((toJson(schema, message) as JsonObject)[field.jsonName] ?? empty);
}
