import type { DescField, DescMethod, JsonObject, JsonValue, Message } from "@bufbuild/protobuf";
import { invalid } from "./faults.ts";
import { type ExactJson, isObject, LongNumber, parseStrict, put } from "./json.ts";
import { readMessage } from "./message-json.ts";
import type { QueryPair } from "./query.ts";
import type { HttpBinding } from "./rules.ts";
import { readText } from "./text-value.ts";

/** What a call over HTTP says. */
export interface HttpCall {
  /** Values of the template's variables, decoded. */
  readonly params: Readonly<Record<string, string>>;
  /** In their order. */
  readonly query: readonly QueryPair[];
  /** The body's text; empty: there is none. */
  readonly body: string;
}

/**
 * The request message that a call stands for, by the rules of google.api.http. It is not checked against the rules of its schema.
 * @throws WeirError INVALID_REQUEST, with the path of the field or the parameter at fault as `param`; values are never quoted
 */
export function bindRequest(method: DescMethod, binding: HttpBinding, call: HttpCall): Message {
  const json = readBody(binding, call.body);
  for (const { fieldPath, fields } of binding.pathParameters) {
    const text = call.params[fieldPath] ?? "";
    setFromPath(json, fields, fieldPath, text);
  }
  bindQuery(json, binding, call.query);
  return readMessage(method.input, json);
}

function readBody({ body }: HttpBinding, text: string): JsonObject {
  if (body.kind === "none") {
    if (text !== "") throw invalid("This method takes no body.");
    return {};
  }
  if (text === "") return {};
  const json = parseStrict(text);
  if (body.kind === "field") return { [body.field.name]: json as JsonValue };
  if (!isObject(json)) throw invalid("The body is not a JSON object.");
  return json;
}

/** The name under which an object has a field already, or else shall have it. */
function nameIn(json: JsonObject, { name, jsonName }: DescField): string {
  return Object.hasOwn(json, jsonName) ? jsonName : name;
}

function get(json: JsonObject, name: string): ExactJson | undefined {
  const value = Object.hasOwn(json, name) ? (json[name] as ExactJson | undefined) : undefined;
  return value === null ? undefined : value;
}

/** Goes down to the object that a field stands in, and makes what is not there yet. */
function parentOf(json: JsonObject, fields: readonly DescField[], param: string): JsonObject {
  let at = json;
  for (const field of fields.slice(0, -1)) {
    const name = nameIn(at, field);
    const inner = get(at, name) ?? {};
    if (!isObject(inner)) throw invalid(`\`${param}\` stands in something that is no object.`, param);
    put(at, name, inner);
    at = inner;
  }
  return at;
}

/** What the path says holds; a body that says it again must say the same. */
function setFromPath(json: JsonObject, fields: readonly DescField[], fieldPath: string, text: string): void {
  const leaf = fields.at(-1) as DescField;
  const parent = parentOf(json, fields, fieldPath);
  const name = nameIn(parent, leaf);
  const given = get(parent, name) ?? "";
  const value = readText(leaf, text, fieldPath);
  if (given !== "" && textOf(given) !== textOf(value)) {
    throw invalid(`\`${fieldPath}\` stands in the path; the body must leave it out or say the same.`, fieldPath);
  }
  put(parent, name, value);
}

function textOf(json: ExactJson): string | undefined {
  if (json instanceof LongNumber) return json.text;
  return typeof json === "object" ? undefined : String(json);
}

/** Names that an error tells at most. */
const toldMax = 40;

function bindQuery(json: JsonObject, { queryParameters, body }: HttpBinding, query: readonly QueryPair[]): void {
  for (const { name, value } of query) {
    const parameter = queryParameters.find((each) => each.name === name || each.jsonName === name);
    if (parameter === undefined) throw unknownParameter(queryParameters, body.kind);
    const { fields, name: param } = parameter;
    const leaf = fields.at(-1) as DescField;
    const parent = parentOf(json, fields, param);
    const item = readText(leaf, value, param);
    const there = get(parent, leaf.name);
    if (Array.isArray(there)) there.push(item);
    else if (there === undefined) put(parent, leaf.name, leaf.fieldKind === "list" ? [item] : item);
    else throw invalid(`\`${param}\` stands more than once.`, param);
  }
}

function unknownParameter(known: HttpBinding["queryParameters"], body: string): Error {
  if (known.length === 0) {
    return invalid(
      body === "none"
        ? "This method takes no query parameters."
        : "This method takes its fields in the body, not in the query.",
    );
  }
  const names = known.slice(0, toldMax).map(({ name }) => name);
  return invalid(`Query parameters may be ${names.join(", ")}${known.length > toldMax ? " and others" : ""}.`);
}
