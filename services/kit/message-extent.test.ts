import { create, toBinary } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { MessageSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { CostDimension, ListCostsRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { expect, test } from "vitest";
import { checkMessageExtent } from "./message-extent.ts";

const many = 1_100_000;

test("a message may be large, as long as it is not made of too many parts", () => {
  const message = create(GenerateRequestSchema, {
    model: "x".repeat(3_000_000),
    messages: Array.from({ length: 100_000 }, () =>
      create(MessageSchema, { parts: [{ content: { case: "text", value: { text: "hi" } } }] }),
    ),
  });
  expect(() => checkMessageExtent(GenerateRequestSchema, toBinary(GenerateRequestSchema, message))).not.toThrow();
});

test("too many parts are refused wherever they are: in lists, in numbers that are packed, and in maps", () => {
  const parts = create(GenerateRequestSchema, {
    messages: [{ parts: Array.from({ length: many }, () => ({})) }],
  });
  expect(() => checkMessageExtent(GenerateRequestSchema, toBinary(GenerateRequestSchema, parts))).toThrow("fields");
  const numbers = create(ListCostsRequestSchema, {
    dimensions: Array.from({ length: 2 * many }, () => CostDimension.DAY),
  });
  expect(() => checkMessageExtent(ListCostsRequestSchema, toBinary(ListCostsRequestSchema, numbers))).toThrow("fields");
  const list = { listValue: { values: Array.from({ length: many }, () => ({})) } };
  const map = create(StructSchema, { fields: { a: { kind: { case: "listValue", value: list.listValue } } } });
  expect(() => checkMessageExtent(StructSchema, toBinary(StructSchema, map))).toThrow("fields");
});

test("what is no message is left to the decoder", () => {
  const broken = Buffer.alloc(3_000_000, 0xff);
  expect(() => checkMessageExtent(GenerateRequestSchema, broken)).not.toThrow();
});
