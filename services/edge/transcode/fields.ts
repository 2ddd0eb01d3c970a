import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** A leaf of a request that a query can set. */
export interface QueryParameter {
  /** Its path in names of the proto: `scope.user`. */
  readonly name: string;
  /** The same in names of proto JSON: `softLimits.percents`. Either is read, and no mixture of both. */
  readonly jsonName: string;
  /**
   * From the request down to the leaf: a scalar, an enum, a message that is one value in JSON (Timestamp, Duration, FieldMask, the
   * wrappers), or a list of one of these, which may stand in a query more than once.
   */
  readonly fields: readonly DescField[];
}

/** Most parameters of one method: one with more has too much in it for a query. */
const parametersMax = 1_000;

/** Messages that are one text, number or truth value in proto JSON. https://protobuf.dev/programming-guides/json/ */
const leafMessages: ReadonlySet<string> = new Set([
  "google.protobuf.Timestamp",
  "google.protobuf.Duration",
  "google.protobuf.FieldMask",
]);

/** Messages that may be any JSON. */
const openMessages: ReadonlySet<string> = new Set([
  "google.protobuf.Struct",
  "google.protobuf.Value",
  "google.protobuf.ListValue",
  "google.protobuf.Any",
]);

/** Whether a message is one value in proto JSON, and not an object with members. */
export function isLeafMessage(message: DescMessage): boolean {
  return leafMessages.has(message.typeName) || isWrapperDesc(message);
}

/** Whether a message may be any JSON. */
export function isOpenMessage(message: DescMessage): boolean {
  return openMessages.has(message.typeName);
}

/** The fields that a path such as `budget.name` goes through; undefined when there is no such path of single messages. */
export function findFields(message: DescMessage, path: string): DescField[] | undefined {
  const fields: DescField[] = [];
  let at: DescMessage | undefined = message;
  for (const name of path.split(".")) {
    const field: DescField | undefined = at?.fields.find((each) => each.name === name);
    if (field === undefined) return undefined;
    fields.push(field);
    at = field.fieldKind === "message" ? field.message : undefined;
  }
  return fields;
}

/**
 * The leaves of a request that a query sets.
 * @param isSet whether something else sets a field, given by the fields from the request down to it; then all in it is left out
 * @returns faults where there is something that no query can hold: maps, lists of messages, recursion, free-form JSON
 */
export function queryParametersOf(
  message: DescMessage,
  isSet: (fields: readonly DescField[]) => boolean,
): { readonly parameters: QueryParameter[]; readonly faults: string[] } {
  const parameters: QueryParameter[] = [];
  const faults: string[] = [];
  visit(message, [], [message]);
  if (parameters.length > parametersMax) faults.push(`more than ${parametersMax} query parameters`);
  return { parameters, faults };

  function visit(at: DescMessage, above: readonly DescField[], types: readonly DescMessage[]): void {
    for (const field of at.fields) {
      const fields = [...above, field];
      if (isSet(fields)) continue;
      const name = fields.map((each) => each.name).join(".");
      const inner = innerMessage(field);
      const isOpen = inner !== undefined && isOpenMessage(inner);
      if (field.fieldKind === "map") faults.push(`${name} is a map, which no query can hold`);
      else if (isOpen) faults.push(`${name} is free-form JSON, which no query can hold`);
      else if (inner === undefined || isLeafMessage(inner)) {
        parameters.push({ name, jsonName: fields.map((each) => each.jsonName).join("."), fields });
      } else if (field.fieldKind === "list") faults.push(`${name} is a list of messages, which no query can hold`);
      else if (types.includes(inner)) faults.push(`${name} is of a type that contains itself, which no query can hold`);
      else visit(inner, fields, [...types, inner]);
      if (parameters.length > parametersMax) return;
    }
  }
}

/** The message that a field or its items are. */
function innerMessage(field: DescField): DescMessage | undefined {
  if (field.fieldKind === "message") return field.message;
  return field.fieldKind === "list" && field.listKind === "message" ? field.message : undefined;
}
