import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { grammarSchema } from "./schema.ts";

test("remarks go, choices and lists of types become choices, and objects take others only where they name none", () => {
  expect(
    grammarSchema({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      title: "Weather",
      type: "object",
      required: ["city"],
      properties: {
        city: { type: "string", description: "Where", maxLength: 20 },
        wind: { type: ["number", "null"] },
        tags: { type: ["array", "null"], items: { anyOf: [{ type: "string" }, { const: 7 }] } },
        rest: { type: "object" },
      },
    }),
  ).toEqual({
    type: "object",
    additionalProperties: false,
    properties: {
      city: { type: "string", maxLength: 20 },
      wind: { oneOf: [{ type: "number" }, { type: "null" }] },
      tags: {
        oneOf: [{ type: "array", items: { oneOf: [{ type: "string" }, { enum: [7] }] } }, { type: "null" }],
      },
      rest: { type: "object", additionalProperties: true },
    },
  });
});

test("definitions are kept, and references find them under both names", () => {
  const schema = {
    definitions: {
      node: { type: "object", properties: { next: { anyOf: [{ $ref: "#/definitions/node" }, { type: "null" }] } } },
    },
    $ref: "#/definitions/node",
  };
  expect(grammarSchema(schema)).toEqual({
    oneOf: [{ $ref: "#/$defs/node" }],
    $defs: {
      node: {
        type: "object",
        additionalProperties: false,
        properties: { next: { oneOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
      },
    },
  });
});

const wide = {
  type: "object",
  properties: Object.fromEntries(
    Array.from({ length: 21 }, (_, index) => [index, { type: "string", minLength: 1_000 }]),
  ),
};

const deep = Array.from({ length: 100 }).reduce<object>((inner) => ({ type: "array", items: inner }), { type: "null" });

test.each([
  ["a pattern", { type: "string", pattern: "a+" }],
  ["a bound of a number", { type: "integer", minimum: 3 }],
  ["no type", {}],
  ["a type that is none", { type: "text" }],
  ["a reference to nothing", { $ref: "#/$defs/missing" }],
  ["a reference beside other words", { $defs: { a: { type: "null" } }, $ref: "#/$defs/a", type: "null" }],
  ["a count without measure", { type: "string", maxLength: 1e9 }],
  ["many counts that are too much together", wide],
  ["a format that is not known", { type: "string", format: "email" }],
  ["objects as values", { enum: [{ a: 1 }] }],
  ["no values", { enum: [] }],
  ["what all of must hold", { allOf: [{ type: "string" }] }],
  ["no end of depth", deep],
])("what no grammar can follow is refused: %s", (_name, schema) => {
  let thrown: unknown;
  try {
    grammarSchema(schema as Parameters<typeof grammarSchema>[0]);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(WeirError);
  expect(thrown).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED });
});
