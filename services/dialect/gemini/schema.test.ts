import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { toJsonSchema } from "./schema.ts";

test.each<[string, object, object]>([
  ["types in either case", { type: "OBJECT" }, { type: "object" }],
  ["no type", { type: "TYPE_UNSPECIFIED", title: "t" }, { title: "t" }],
  ["nullable", { type: "STRING", nullable: true, enum: ["a"] }, { type: ["string", "null"], enum: ["a", null] }],
  [
    "nullable alternatives",
    { anyOf: [{ type: "STRING" }], nullable: true },
    { anyOf: [{ type: "string" }, { type: "null" }] },
  ],
  ["an enum's mark", { type: "STRING", format: "enum", enum: ["a"] }, { type: "string", enum: ["a"] }],
  ["numbers as texts", { type: "INTEGER", enum: ["1", "2"] }, { type: "integer", enum: [1, 2] }],
  ["other formats", { type: "STRING", format: "date-time" }, { type: "string", format: "date-time" }],
  ["counts as texts", { type: "ARRAY", minItems: "1", max_items: 5 }, { type: "array", minItems: 1, maxItems: 5 }],
  ["an example", { type: "STRING", example: "a" }, { type: "string", examples: ["a"] }],
  [
    "what nests",
    {
      type: "object",
      properties: { type: { type: "STRING" }, a: { type: "ARRAY", items: { type: "NUMBER", minimum: 0.5 } } },
      required: ["a"],
      propertyOrdering: ["a"],
      additionalProperties: false,
    },
    {
      type: "object",
      properties: { type: { type: "string" }, a: { type: "array", items: { type: "number", minimum: 0.5 } } },
      required: ["a"],
      propertyOrdering: ["a"],
      additionalProperties: false,
    },
  ],
])("%s", (_, schema, json) => {
  expect(toJsonSchema(schema, "s")).toEqual(json);
});

function deep(levels: number): object {
  return levels === 0 ? {} : { items: deep(levels - 1) };
}

test.each<[string, unknown, string]>([
  ["no object", { items: [] }, "s.items"],
  ["alternatives that are no list", { anyOf: {} }, "s.anyOf"],
  ["properties that are a list", { properties: [] }, "s.properties"],
  ["an enum that is no list", { enum: "a" }, "s.enum"],
  ["a count below zero", { minItems: -1 }, "s.minItems"],
  ["too many levels", deep(70), `s${".items".repeat(65)}`],
])("refused: %s", (_, schema, param) => {
  expect(() => toJsonSchema(schema, "s")).toThrow(
    expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST, metadata: { param } }) as Error,
  );
});

test.each<[string, unknown, string]>([
  ["an unknown member", { properties: { a: { $ref: "x" } } }, "s.properties.a"],
  ["another", { properties: { a: { wild: 1 } } }, "s.properties.a.wild"],
  ["an unknown type", { type: "TEXT" }, "s.type"],
])("left to targets of its own dialect: %s", (_, schema, param) => {
  expect(() => toJsonSchema(schema, "s")).toThrow(
    expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } }) as Error,
  );
});
