import { unsupported } from "@weir/dialect/faults";
import { isObject, type JsonObject } from "@weir/dialect/json";

// What llama.cpp's grammars are made of takes a part of JSON Schema, and what it does not know it takes for `null` or for
// nothing: https://node-llama-cpp.withcat.ai/guide/grammar#json-schema. So a schema is put into its words here, and one that
// says more than they can is refused rather than followed in part.

const param = "output_format.json_schema.schema";
const depthMax = 64;
/** Of counts such as `maxItems`: each is written out in the grammar. */
const countMax = 1_000;
/** Of all counts of a schema together: making and reading the grammar holds the event loop up. */
const countSumMax = 20_000;

/** Words that say nothing about what is valid; and `required`, since every property is always written. */
const remarks: ReadonlySet<string> = new Set([
  "$comment",
  "$id",
  "$schema",
  "default",
  "deprecated",
  "description",
  "examples",
  "readOnly",
  "required",
  "title",
  "writeOnly",
]);

const counts: ReadonlySet<string> = new Set([
  "minItems",
  "maxItems",
  "minLength",
  "maxLength",
  "minProperties",
  "maxProperties",
]);
const formats: ReadonlySet<unknown> = new Set(["date-time", "date", "time"]);
const types: ReadonlySet<unknown> = new Set(["object", "array", "string", "number", "integer", "boolean", "null"]);
/** Words that belong to one type. */
const wordsOf: Readonly<Record<string, readonly string[]>> = {
  object: ["properties", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "format"],
};

/** What all parts of a schema share. */
interface Whole {
  readonly defs: ReadonlySet<string>;
  /** Sum of the counts so far. */
  countSum: number;
}

/**
 * A JSON schema in the words of the grammar.
 * @throws WeirError TARGET_UNSUPPORTED for what the grammar cannot say
 */
export function grammarSchema(schema: JsonObject): JsonObject {
  const { $defs, definitions, ...rest } = schema;
  const defs = { ...objectOf(definitions ?? {}), ...objectOf($defs ?? {}) };
  const names = new Set(Object.keys(defs));
  const whole: Whole = { defs: names, countSum: 0 };
  const root = convert(rest, whole, 0);
  if (names.size === 0) return root;
  const converted = Object.entries(defs).map(([name, def]) => [name, convert(objectOf(def), whole, 1)]);
  // Definitions may stand beside a choice, but not beside a reference or a plain type.
  return { oneOf: [root], $defs: Object.fromEntries(converted) };
}

function convert(schema: JsonObject, whole: Whole, depth: number): JsonObject {
  if (depth > depthMax) throw no("is nested too deeply");
  const said = Object.fromEntries(Object.entries(schema).filter(([word]) => !remarks.has(word)));
  for (const [word, value] of Object.entries(said)) {
    if (!counts.has(word)) continue;
    if (!isCount(value)) throw no(`has a \`${word}\` that is no whole number up to ${countMax}`);
    whole.countSum += value;
    if (whole.countSum > countSumMax) throw no(`has counts that come to more than ${countSumMax} together`);
  }
  const inner = (value: unknown) => convert(objectOf(value), whole, depth + 1);
  const { type, $ref, const: constant, enum: list, oneOf, anyOf, ...more } = said;
  const choices = oneOf ?? anyOf;
  if ($ref !== undefined) {
    only(said, ["$ref"]);
    const name = typeof $ref === "string" ? /^#\/(?:\$defs|definitions)\/([^/~%]+)$/.exec($ref)?.[1] : undefined;
    if (name === undefined || !whole.defs.has(name)) throw no("refers to something that is not among its `$defs`");
    return { $ref: `#/$defs/${name}` };
  }
  if (choices !== undefined) {
    only(said, [oneOf === undefined ? "anyOf" : "oneOf"]);
    return { oneOf: listOf(choices).map(inner) };
  }
  if (constant !== undefined || list !== undefined) {
    only(said, [constant === undefined ? "enum" : "const", "type"]);
    const values = constant === undefined ? listOf(list) : [constant];
    if (values.some((value) => typeof value === "object" && value !== null)) throw no("lists objects as values");
    return { enum: values };
  }
  if (Array.isArray(type)) {
    return { oneOf: listOf(type).map((one) => convert({ ...wordsFor(one, more), type: one }, whole, depth + 1)) };
  }
  const inferred = type ?? (more["properties"] === undefined ? undefined : "object");
  if (!isType(inferred)) throw no("has a part without a `type`");
  only(more, wordsOf[inferred] ?? []);
  switch (inferred) {
    case "object":
      return { ...more, type: inferred, ...objectWords(more, inner) };
    case "array":
      return {
        ...more,
        type: inferred,
        ...(more["items"] === undefined ? {} : { items: inner(more["items"]) }),
        ...(more["prefixItems"] === undefined ? {} : { prefixItems: listOf(more["prefixItems"]).map(inner) }),
      };
    default:
      if (more["format"] !== undefined && !formats.has(more["format"])) throw no("has a `format` that is not known");
      return { ...more, type: inferred };
  }
}

function objectWords({ properties, additionalProperties }: JsonObject, inner: (value: unknown) => JsonObject) {
  const named = Object.entries(objectOf(properties ?? {})).map(([name, value]) => [name, inner(value)]);
  // Without a word on others they may be there, and are written only where nothing is named.
  const others = additionalProperties ?? named.length === 0;
  return {
    ...(named.length === 0 ? {} : { properties: Object.fromEntries(named) as JsonObject }),
    additionalProperties: typeof others === "boolean" ? others : inner(others),
  };
}

/** What is said of a type where a list of types is given. */
function wordsFor(type: unknown, words: JsonObject): JsonObject {
  const all = new Set(Object.values(wordsOf).flat());
  const own = new Set(isType(type) ? wordsOf[type] : []);
  return Object.fromEntries(Object.entries(words).filter(([word]) => own.has(word) || !all.has(word)));
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= countMax;
}

function isType(value: unknown): value is string {
  return types.has(value);
}

function only(schema: JsonObject, words: readonly string[]): void {
  const strange = Object.keys(schema).find((word) => !words.includes(word));
  if (strange !== undefined) throw no("has a word that a grammar cannot follow, or that excludes another");
}

function objectOf(value: unknown): JsonObject {
  if (isObject(value)) return value;
  throw no("has a part that is no object");
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value) && value.length > 0) return value as readonly unknown[];
  throw no("has an empty list, or none where one belongs");
}

function no(fault: string) {
  return unsupported(`The JSON schema ${fault}: a local model cannot be held to it.`, param);
}
