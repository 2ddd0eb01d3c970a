import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import * as account from "@weir/gen/weir/account/v1/account_service_pb";
import * as chat from "@weir/gen/weir/chat/v1/chat_service_pb";
import * as conversation from "@weir/gen/weir/chat/v1/conversation_pb";
import * as event from "@weir/gen/weir/chat/v1/event_pb";
import * as wire from "@weir/gen/weir/chat/v1/wire_pb";
import * as errorReason from "@weir/gen/weir/common/v1/error_reason_pb";
import * as principal from "@weir/gen/weir/common/v1/principal_pb";
import * as usage from "@weir/gen/weir/common/v1/usage_pb";
import * as config from "@weir/gen/weir/config/v1/config_pb";
import * as edgeConfig from "@weir/gen/weir/config/v1/edge_pb";
import * as identityProviderConfig from "@weir/gen/weir/config/v1/identity_provider_pb";
import * as limitsConfig from "@weir/gen/weir/config/v1/limits_pb";
import * as priceConfig from "@weir/gen/weir/config/v1/price_pb";
import * as providerConfig from "@weir/gen/weir/config/v1/provider_pb";
import * as routerConfig from "@weir/gen/weir/config/v1/router_pb";
import * as link from "@weir/gen/weir/link/v1/link_service_pb";
import * as usageEvent from "@weir/gen/weir/metering/v1/usage_event_pb";
import * as usageService from "@weir/gen/weir/metering/v1/usage_service_pb";
import * as forward from "@weir/gen/weir/passthrough/v1/forward_pb";
import * as forwardAttempt from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import * as passthrough from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import * as resource from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import * as attempt from "@weir/gen/weir/routing/v1/attempt_service_pb";
import * as route from "@weir/gen/weir/routing/v1/route_service_pb";
import * as target from "@weir/gen/weir/routing/v1/target_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode, encodeToBytes } from "./codec.ts";
import { sizeBound } from "./size-bound.ts";

const modules = [
  account,
  chat,
  conversation,
  event,
  wire,
  errorReason,
  principal,
  usage,
  config,
  edgeConfig,
  identityProviderConfig,
  limitsConfig,
  priceConfig,
  providerConfig,
  routerConfig,
  link,
  usageEvent,
  usageService,
  forward,
  forwardAttempt,
  passthrough,
  resource,
  attempt,
  route,
  target,
];
const schemas = modules
  .flatMap((module) => Object.values(module) as unknown[])
  .filter((value): value is DescMessage => (value as { kind?: string }).kind === "message");

function scalar(type: ScalarType): fc.Arbitrary<unknown> {
  switch (type) {
    case ScalarType.STRING:
      return fc.oneof(
        fc.string({ unit: "binary", maxLength: 40 }),
        fc.constant(""),
        fc.constant("\u{1f30a}".repeat(60)),
      );
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 300 });
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xffff_ffff }));
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return fc.integer();
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return fc.oneof(fc.bigInt(0n, 1000n), fc.bigInt(0n, 2n ** 64n - 1n));
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return fc.oneof(fc.bigInt(-1000n, 1000n), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n));
    case ScalarType.FLOAT:
      return fc.float({ noNaN: true });
    case ScalarType.DOUBLE:
      return fc.double();
    default:
      throw new Error(`no arbitrary for scalar ${String(type)}`);
  }
}

const json = fc
  .dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
  .map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>);

function singular(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.enum !== undefined)
    return fc.oneof(fc.constantFrom(...field.enum.values.map((value) => value.number)), fc.integer());
  if (field.message !== undefined) {
    if (field.message.typeName === "google.protobuf.Struct") return json;
    return messages(field.message, depth - 1);
  }
  return scalar(field.scalar);
}

function key(type: ScalarType): fc.Arbitrary<string> {
  return type === ScalarType.STRING ? fc.string({ maxLength: 12 }) : scalar(type).map(String);
}

function member(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message !== undefined && depth <= 0) return fc.constant(field.fieldKind === "list" ? [] : undefined);
  switch (field.fieldKind) {
    case "list":
      return fc.array(singular(field, depth), { maxLength: 4 });
    case "map":
      return fc.dictionary(key(field.mapKey), singular(field, depth), { maxKeys: 4 });
    default:
      return fc.option(singular(field, depth), { nil: undefined });
  }
}

function messages(schema: DescMessage, depth = 3): fc.Arbitrary<MessageInitShape<DescMessage>> {
  const shape: Record<string, fc.Arbitrary<unknown>> = {};
  for (const item of schema.members) {
    shape[item.localName] =
      item.kind === "field"
        ? member(item, depth)
        : fc.oneof(
            fc.constant({ case: undefined }),
            ...item.fields
              .filter((field) => field.message === undefined || depth > 0)
              .map((field) => singular(field, depth).map((value) => ({ case: field.localName, value }))),
          );
  }
  return fc.record(shape).map((init) => {
    const set = Object.entries(init).filter(([, value]) => value !== undefined && value !== null);
    return Object.fromEntries(set) as MessageInitShape<DescMessage>;
  });
}

describe("every schema of the contract", () => {
  test("there are many", () => expect(schemas.length).toBeGreaterThan(80));

  test.each(schemas.map((schema) => [schema.typeName, schema] as const))(
    "%s: the bytes of toBinary",
    (_name, schema) => {
      fc.assert(
        fc.property(messages(schema), (init) => {
          const message = create(schema, init);
          const expected = Buffer.from(toBinary(schema, message));
          expect(encodeToBytes(schema, message).equals(expected)).toBe(true);
          expect(encodeToBytes(schema, init).equals(expected)).toBe(true);
          expect(sizeBound(schema, message)).toBeGreaterThanOrEqual(expected.length);
          expect(decode(schema, expected)).toEqual(fromBinary(schema, expected));
        }),
        { numRuns: 25 },
      );
    },
  );
});

test.each([0, 1, 100, 300, 70_000])("a chunk of %d bytes reads as fromBinary reads it", (length) => {
  const data = new Uint8Array(length).fill(7);
  for (const schema of [chat.GenerateResponseSchema, attempt.RunAttemptResponseSchema]) {
    const chunk = { payload: { case: "wire", value: { data } } } as const;
    const tail = { payload: { case: "wire", value: { data, tail: {} } } } as const;
    for (const init of [chunk, tail]) {
      const bytes = toBinary(schema, create(schema, init));
      expect(decode(schema, bytes)).toStrictEqual(fromBinary(schema, bytes));
    }
  }
});

test("fields of a later version of the contract survive", () => {
  const bytes = Buffer.from([
    ...toBinary(target.TargetSchema, create(target.TargetSchema, { provider: "p" })),
    0xb8,
    0x3e,
    7,
  ]);
  expect(encodeToBytes(target.TargetSchema, fromBinary(target.TargetSchema, bytes)).equals(bytes)).toBe(true);
});

test("a message larger than the writer's buffer", () => {
  const body = Buffer.alloc(5_000_000, 7);
  const message = create(wire.WireChunkSchema, { data: body });
  expect(encode(wire.WireChunkSchema, message).bytes().equals(toBinary(wire.WireChunkSchema, message))).toBe(true);
  expect(encode(wire.WireChunkSchema, { data: Buffer.from("x") }).length).toBe(3);
});

test.each([
  [usage.UsageSchema, { inputTokens: -1n }],
  [wire.SpanSchema, { start: 0.5 }],
  [wire.SpanSchema, { start: 2 ** 32 }],
  [wire.WireChunkSchema, { data: "text" }],
  [target.TargetSchema, { provider: 5 }],
])("%s: a value that does not fit its field is refused", (schema, init) => {
  expect(() => encode(schema as DescMessage, init as unknown as MessageInitShape<DescMessage>)).toThrow(TypeError);
});
