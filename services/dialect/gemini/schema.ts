import { invalid, unknownWord } from "../faults.ts";
import { isJsonObject, memberPath } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { memberNames, refuse, sortMembers } from "./members.ts";

// https://ai.google.dev/api/caching#Schema
const names = memberNames(
  "type format title description nullable enum example default anyOf pattern items minItems " +
    "maxItems minLength maxLength minimum maximum properties required minProperties maxProperties " +
    "propertyOrdering",
);

const types: ReadonlySet<string> = new Set(["string", "number", "integer", "boolean", "array", "object", "null"]);
/** Counts that the API writes as text, being of 64 bits. */
const counts: ReadonlySet<string> = new Set(
  "minItems maxItems minLength maxLength minProperties maxProperties".split(" "),
);
const depthMax = 64;

/**
 * Translates the API's own Schema, a part of OpenAPI 3.0, into JSON Schema.
 * @param param where it stands
 * @throws WeirError INVALID_REQUEST for what is no such schema
 */
export function toJsonSchema(schema: unknown, param: string, depth = 0): JsonObject {
  if (!isJsonObject(schema)) throw invalid(`\`${param}\` must be an object.`, param);
  if (depth > depthMax) throw invalid(`\`${param}\` nests deeper than ${depthMax} levels.`, param);
  // JSON Schema's own `$ref` and such are read by nobody here, and `additionalProperties` says there what it says here.
  const { known, rest } = sortMembers(schema, names, param);
  const { additionalProperties, ...unknown } = rest;
  refuse(unknown, param);
  const written: Record<string, unknown> = {};
  const isNullable = known["nullable"] === true;
  for (const [name, value] of Object.entries(known)) {
    const path = memberPath(param, name);
    switch (name) {
      case "nullable":
        break;
      case "type": {
        const type = readType(value, path);
        if (type !== "") written["type"] = isNullable && type !== "null" ? [type, "null"] : type;
        break;
      }
      case "format":
        if (value !== "enum") written["format"] = value; // only says that `enum` is there
        break;
      case "enum":
        written["enum"] = readEnum(value, known["type"], isNullable, path);
        break;
      case "example":
        written["examples"] = [value];
        break;
      case "items":
        written["items"] = toJsonSchema(value, path, depth + 1);
        break;
      case "anyOf":
        written["anyOf"] = toJsonSchemas(value, path, isNullable && known["type"] === undefined, depth);
        break;
      case "properties":
        written["properties"] = toProperties(value, path, depth);
        break;
      default:
        written[name] = counts.has(name) ? readCount(value, path) : value;
    }
  }
  return additionalProperties === undefined ? written : { ...written, additionalProperties };
}

function readType(value: unknown, param: string): string {
  const type = typeof value === "string" ? value.toLowerCase() : undefined;
  if (type === "type_unspecified") return "";
  if (type !== undefined && types.has(type)) return type;
  throw unknownWord(value, `\`${param}\` must be a type of the API's, such as \`STRING\`.`, param);
}

/** The API writes the values of an enum as texts, whatever their type is. */
function readEnum(value: unknown, type: unknown, isNullable: boolean, param: string): unknown[] {
  if (!Array.isArray(value)) throw invalid(`\`${param}\` must be a list.`, param);
  const isNumeric = typeof type === "string" && /^(integer|number)$/i.test(type);
  const values = (value as unknown[]).map((item) => {
    const number = isNumeric && typeof item === "string" && item.trim() !== "" ? Number(item) : Number.NaN;
    return Number.isNaN(number) ? item : number;
  });
  return isNullable ? [...values, null] : values;
}

function toJsonSchemas(value: unknown, param: string, isNullable: boolean, depth: number): JsonObject[] {
  if (!Array.isArray(value)) throw invalid(`\`${param}\` must be a list.`, param);
  const schemas = value.map((item, index) => toJsonSchema(item, `${param}[${index}]`, depth + 1));
  return isNullable ? [...schemas, { type: "null" }] : schemas;
}

function toProperties(value: unknown, param: string, depth: number): JsonObject {
  if (!isJsonObject(value)) throw invalid(`\`${param}\` must be an object.`, param);
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, toJsonSchema(item, memberPath(param, name), depth + 1)]),
  );
}

function readCount(value: unknown, param: string): number {
  const count = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof count === "number" && Number.isSafeInteger(count) && count >= 0) return count;
  throw invalid(`\`${param}\` must be a whole number.`, param);
}
