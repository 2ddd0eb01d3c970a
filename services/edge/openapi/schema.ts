import { type DescEnum, type DescField, type DescMessage, getOption, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { field as rulesOfField, type FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

/** A schema of OpenAPI 3.1, which is one of JSON Schema 2020-12. */
export type Schema = Readonly<Record<string, unknown>>;

/** Describes messages as proto JSON has them. */
export interface Schemas {
  /** A reference to the schema of a message, which is put among the components. */
  ref(message: DescMessage): Schema;
  /** The schema of one value of a field, or of all of a list or map. */
  ofField(field: DescField): Schema;
  /** Everything that was referred to, by full name. */
  readonly components: ReadonlyMap<string, Schema>;
}

/** @param comments of the protos, by full name */
export function createSchemas(comments: Readonly<Record<string, string>>): Schemas {
  const components = new Map<string, Schema>();

  function ref(message: DescMessage): Schema {
    const open = openSchema(message);
    if (open !== undefined) return open;
    const { typeName } = message;
    if (!components.has(typeName)) {
      // Known before its fields are read: a message may contain itself.
      components.set(typeName, {});
      components.set(typeName, objectOf(message));
    }
    return { $ref: `#/components/schemas/${typeName}` };
  }

  function objectOf(message: DescMessage): Schema {
    const required = message.fields.filter((field) => getOption(field, rulesOfField).required);
    const groups = message.oneofs.filter((oneof) => oneof.fields.length > 1);
    const alternatives = groups.map(
      (oneof) => `At most one of ${oneof.fields.map((field) => `\`${field.jsonName}\``).join(", ")}.`,
    );
    return {
      type: "object",
      ...described([comments[message.typeName], ...alternatives]),
      properties: Object.fromEntries(message.fields.map((field) => [field.jsonName, ofField(field)])),
      ...(required.length > 0 && { required: required.map((field) => field.jsonName) }),
    };
  }

  function ofField(field: DescField): Schema {
    const rules = getOption(field, rulesOfField);
    const description = described([comments[`${field.parent.typeName}.${field.name}`]]);
    switch (field.fieldKind) {
      case "list": {
        const items =
          field.listKind === "message"
            ? ref(field.message)
            : field.listKind === "enum"
              ? enumOf(field.enum)
              : scalarOf(field.scalar);
        return { type: "array", items: { ...items, ...itemRules(rules) }, ...listRules(rules), ...description };
      }
      case "map": {
        const values =
          field.mapKind === "message"
            ? ref(field.message)
            : field.mapKind === "enum"
              ? enumOf(field.enum)
              : scalarOf(field.scalar);
        return { type: "object", additionalProperties: values, ...mapRules(rules), ...description };
      }
      case "message":
        return { ...ref(field.message), ...description };
      case "enum":
        return { ...enumOf(field.enum), ...description };
      default:
        return { ...scalarOf(field.scalar), ...valueRules(rules), ...description };
    }
  }

  function enumOf(desc: DescEnum): Schema {
    if (!components.has(desc.typeName)) {
      const values = desc.values.map(({ name }) => `- \`${name}\`: ${comments[`${desc.typeName}.${name}`] ?? ""}`);
      components.set(desc.typeName, {
        type: "string",
        ...described([comments[desc.typeName], `\n\n${values.join("\n")}`]),
        enum: desc.values.map(({ name }) => name),
      });
    }
    return { $ref: `#/components/schemas/${desc.typeName}` };
  }

  return { ref, ofField, components };
}

function described(texts: readonly (string | undefined)[]): { description?: string } {
  const text = texts.filter((each) => each !== undefined && each !== "").join(" ");
  return text === "" ? {} : { description: text };
}

/** Messages that are no objects with members. https://protobuf.dev/programming-guides/json/ */
function openSchema(message: DescMessage): Schema | undefined {
  if (isWrapperDesc(message)) {
    const [value] = message.fields;
    return value?.fieldKind === "scalar" ? scalarOf(value.scalar) : {};
  }
  switch (message.typeName) {
    case "google.protobuf.Timestamp":
      return { type: "string", format: "date-time" };
    case "google.protobuf.Duration":
      return { type: "string", pattern: String.raw`^-?\d+(\.\d{1,9})?s$` };
    case "google.protobuf.FieldMask":
      return { type: "string" };
    case "google.protobuf.Struct":
    case "google.protobuf.Any":
      return { type: "object" };
    case "google.protobuf.ListValue":
      return { type: "array", items: {} };
    case "google.protobuf.Value":
      return {};
    default:
      return undefined;
  }
}

function scalarOf(scalar: ScalarType): Schema {
  switch (scalar) {
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.FLOAT:
    case ScalarType.DOUBLE:
      return { type: "number" };
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return { type: "string", format: "int64" };
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return { type: "string", format: "uint64" };
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return { type: "integer", minimum: 0, maximum: 4_294_967_295 };
    default:
      return { type: "integer", format: "int32" };
  }
}

/** What protovalidate says, where JSON Schema can say it too. */
function valueRules({ type }: FieldRules): Schema {
  switch (type.case) {
    case "string": {
      const { minLen, maxLen, pattern, prefix, in: values } = type.value;
      return defined({
        minLength: positive(minLen),
        maxLength: positive(maxLen),
        pattern:
          pattern !== "" ? pattern : prefix !== "" ? `^${prefix.replaceAll(/[.*+?^$()|[\]\\/]/g, "\\$&")}` : undefined,
        enum: values.length > 0 ? values : undefined,
      });
    }
    case "uint32":
    case "int32":
    case "double":
    case "float": {
      const { greaterThan, lessThan } = type.value;
      return defined({
        minimum: greaterThan.case === "gte" ? greaterThan.value : undefined,
        exclusiveMinimum: greaterThan.case === "gt" ? greaterThan.value : undefined,
        maximum: lessThan.case === "lte" ? lessThan.value : undefined,
        exclusiveMaximum: lessThan.case === "lt" ? lessThan.value : undefined,
      });
    }
    default:
      return {};
  }
}

function listRules({ type }: FieldRules): Schema {
  if (type.case !== "repeated") return {};
  const { minItems, maxItems, unique } = type.value;
  return defined({ minItems: positive(minItems), maxItems: positive(maxItems), uniqueItems: unique || undefined });
}

function itemRules({ type }: FieldRules): Schema {
  return type.case === "repeated" && type.value.items !== undefined ? valueRules(type.value.items) : {};
}

function mapRules({ type }: FieldRules): Schema {
  if (type.case !== "map") return {};
  return defined({ minProperties: positive(type.value.minPairs), maxProperties: positive(type.value.maxPairs) });
}

function positive(value: bigint): number | undefined {
  return value > 0n ? Number(value) : undefined;
}

function defined(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
}
