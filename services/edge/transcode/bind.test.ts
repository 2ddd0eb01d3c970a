import type { JsonValue } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { get, patch, receiveOne } from "./testing/receive.ts";
import type { SchemaInit } from "./testing/schema.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

/** What a call is refused with. */
function refusal(call: () => unknown): { readonly param: string | undefined; readonly text: string } {
  try {
    call();
  } catch (thrown) {
    if (!(thrown instanceof WeirError)) throw thrown;
    expect(thrown.reason).toBe(ErrorReason.INVALID_REQUEST);
    return { param: thrown.metadata["param"], text: thrown.message };
  }
  throw new Error("it was not refused");
}

const wide: SchemaInit["messages"] = {
  Request: {
    name: "string",
    text: "optional string",
    flag: "bool",
    small: "int32",
    count: "uint32",
    big: "int64",
    total: "uint64",
    ratio: "double",
    data: "bytes",
    color: "Color",
    colors: "repeated Color",
    numbers: "repeated int64",
    start_time: "google.protobuf.Timestamp",
    span: "google.protobuf.Duration",
    mask: "google.protobuf.FieldMask",
    maybe: "google.protobuf.BoolValue",
    amount: "google.protobuf.Int64Value",
    sub: "Sub",
    by_key: "oneof choice string",
    by_id: "oneof choice int32",
  },
  Sub: { deep_text: "string", deeper: "Deeper" },
  Deeper: { leaf: "repeated string" },
};
const enums = { Color: ["COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE"] };
const query = receiveOne(wide, get("/v1/{name=things/*}"), enums);

test.each<[string, JsonValue]>([
  ["text=a+b%2B%26%3D%C3%A9", { text: "a b+&=é" }],
  ["text=", { text: "" }],
  ["text", { text: "" }],
  ["flag=true", { flag: true }],
  ["flag=false", {}],
  ["small=-5&count=7", { small: -5, count: 7 }],
  ["big=-9223372036854775808", { big: "-9223372036854775808" }],
  ["total=18446744073709551615", { total: "18446744073709551615" }],
  ["ratio=1.5e3", { ratio: 1500 }],
  ["ratio=-Infinity", { ratio: "-Infinity" }],
  ["ratio=NaN", { ratio: "NaN" }],
  ["data=-_8", { data: "+/8=" }],
  ["data=%2B%2F8%3D", { data: "+/8=" }],
  ["data=+/8=", { data: "+/8=" }],
  ["color=COLOR_RED", { color: "COLOR_RED" }],
  ["color=2", { color: "COLOR_BLUE" }],
  ["color=7", { color: 7 }],
  ["colors=COLOR_RED&colors=2", { colors: ["COLOR_RED", "COLOR_BLUE"] }],
  ["numbers=1&numbers=-2&numbers=1", { numbers: ["1", "-2", "1"] }],
  ["start_time=2026-11-21T10:00:00.5%2B01:00", { startTime: "2026-11-21T09:00:00.500Z" }],
  ["start_time=2028-02-29T23:59:59Z", { startTime: "2028-02-29T23:59:59Z" }],
  ["start_time=0004-02-29T00:00:00Z", { startTime: "0004-02-29T00:00:00Z" }],
  ["startTime=2026-11-21T10:00:00Z", { startTime: "2026-11-21T10:00:00Z" }],
  ["span=1.5s", { span: "1.500s" }],
  ["mask=startTime,sub.deepText", { mask: "startTime,sub.deepText" }],
  ["maybe=false", { maybe: false }],
  ["amount=12", { amount: "12" }],
  ["sub.deep_text=x&sub.deeper.leaf=a&sub.deeper.leaf=b", { sub: { deepText: "x", deeper: { leaf: ["a", "b"] } } }],
  ["sub.deepText=x", { sub: { deepText: "x" } }],
  ["by_key=x", { byKey: "x" }],
  ["byId=0", { byId: 0 }],
  ["&&flag=true&", { flag: true }],
])("the query %s is read", (text, expected) => {
  expect(query(`GET /v1/things/x?${text}`)).toEqual({ Call: { name: "things/x", ...(expected as object) } });
});

test.each<[string, string | undefined]>([
  ["unknown=1", undefined],
  ["name=things/y", undefined],
  ["sub=x", undefined],
  ["sub.unknown=x", undefined],
  ["sub.deepText.x=1", undefined],
  ["__proto__=1", undefined],
  ["sub.__proto__.x=1", undefined],
  ["constructor=1", undefined],
  ["text=%zz", undefined],
  ["text=%ff", undefined],
  ["text=a&text=a", "text"],
  ["start_time=2026-11-21T10:00:00Z&startTime=2026-11-21T10:00:00Z", "start_time"],
  ["flag=1", "flag"],
  ["flag=", "flag"],
  ["small=1.5", "small"],
  ["small=0x10", "small"],
  ["small=+1", "small"],
  ["small=2147483648", "small"],
  ["count=-1", "count"],
  ["big=9223372036854775808", "big"],
  ["total=-1", "total"],
  ["ratio=1e999", "ratio"],
  ["ratio=inf", "ratio"],
  ["data=*", "data"],
  ["color=RED", "color"],
  ["color=", "color"],
  ["colors=RED", "colors"],
  ["numbers=1,2", "numbers"],
  ["start_time=2026-11-21", "start_time"],
  ["start_time=2026-13-21T00:00:00Z", "start_time"],
  ["start_time=2026-02-29T00:00:00Z", "start_time"],
  ["start_time=2100-02-29T00:00:00Z", "start_time"],
  ["start_time=2026-04-31T00:00:00Z", "start_time"],
  ["start_time=2026-04-30T24:00:00Z", "start_time"],
  ["span=1", "span"],
  ["span=1sx", "span"],
  ["span=1.1234567890s", "span"],
  ["mask=start_time", "mask"],
  ["maybe=yes", "maybe"],
  ["by_key=x&by_id=1", "by_id"],
])("the query %s is refused", (text, param) => {
  const told = refusal(() => query(`GET /v1/things/x?${text}`));
  expect(told.param).toBe(param);
});

test("an unknown parameter is told which there are, and not quoted", () => {
  const { text } = refusal(() => query("GET /v1/things/x?secret=1"));
  expect(text).toContain("text, flag, small");
  expect(text).toContain("sub.deeper.leaf");
  expect(text).not.toContain("secret");
});

const whole = receiveOne(
  {
    ...wide,
    Request: { ...wide["Request"], tags: "map int64", subs: "repeated Sub", any: "google.protobuf.Struct" },
  },
  { pattern: { case: "post", value: "/v1/{name=things/*}:do" }, body: "*" },
  enums,
);

test.each<[string, JsonValue]>([
  ["", {}],
  ["{}", {}],
  ['{"start_time":"2026-11-21T10:00:00Z","byId":3}', { startTime: "2026-11-21T10:00:00Z", byId: 3 }],
  [
    '{"big":9223372036854775807,"numbers":[9007199254740993]}',
    { big: "9223372036854775807", numbers: ["9007199254740993"] },
  ],
  ['{"tags":{"a":9007199254740993,"__proto__":"1"}}', { tags: { a: "9007199254740993", ["__proto__"]: "1" } }],
  ['{"amount":9007199254740993}', { amount: "9007199254740993" }],
  ['{"ratio":12345678901234567890}', { ratio: 12345678901234567000 }],
  [
    '{"any":{"x":[12345678901234567890,null],"startTime":1}}',
    { any: { x: [12345678901234567000, null], startTime: 1 } },
  ],
  ['{"small":null,"sub":null}', {}],
  ['{"byKey":null,"by_id":1}', { byId: 1 }],
  ['{"name":"things/x"}', {}],
  ['{"name":""}', {}],
  ['{"name":null}', {}],
])("the body %s is read", (body, expected) => {
  const got = whole("POST /v1/things/x:do", body) as { Call: object };
  expect(got.Call).toEqual({ name: "things/x", ...(expected as object) });
});

test.each<[string, string | undefined]>([
  ["[]", undefined],
  ["null", undefined],
  ["1", undefined],
  ["{", undefined],
  ['{"text":"a"', undefined],
  ['{"text":"a}', undefined],
  ['{"a\\u12":1}', undefined],
  ["{'text':1}", undefined],
  ['{"text":"a"}x', undefined],
  ['{"unknown":1}', "unknown"],
  ['{"sub":{"deeper":{"nope":1}}}', "sub.deeper.nope"],
  ['{"subs":[{},{"nope":1}]}', "subs[1].nope"],
  ['{"__proto__":{}}', "__proto__"],
  ['{"se cret":1}', undefined],
  ['{"name":"things/y"}', "name"],
  ['{"name":["things/x"]}', "name"],
  ['{"text":"a","text":"b"}', "text"],
  ['{"text":"a","te\\u0078t":"a"}', "text"],
  ['{"start_time":null,"startTime":null}', "start_time"],
  ['{"sub":{"deep_text":"a","deepText":"a"}}', "sub.deep_text"],
  ['{"subs":[{"deepText":"a"},{"deepText":"a","deepText":"b"}]}', "subs[1].deepText"],
  ['{"tags":{"a":1,"a":2}}', "tags.a"],
  ['{"any":{"a":{"b":1,"b":2}}}', "any.a.b"],
  ['{"byKey":"a","byId":1}', "by_id"],
  ['{"text":1}', "text"],
  ['{"text":"\\ud800"}', "text"],
  ['{"flag":"true"}', "flag"],
  ['{"small":1.5}', "small"],
  ['{"small":12345678901234567890}', "small"],
  ['{"text":12345678901234567890}', "text"],
  ['{"big":12345678901234567890}', "big"],
  ['{"big":9007199254740993.0}', "big"],
  ['{"ratio":1e999}', "ratio"],
  ['{"any":{"x":1e999}}', "any.x"],
  ['{"color":"RED"}', "color"],
  ['{"colors":["COLOR_RED",null]}', "colors"],
  ['{"sub":"x"}', "sub"],
  ['{"sub":{"deeper":{"leaf":"x"}}}', "sub.deeper.leaf"],
  ['{"sub":{"deeper":{"leaf":[1]}}}', "sub.deeper.leaf"],
  ['{"subs":{}}', "subs"],
  ['{"subs":[{},null]}', "subs[1]"],
  ['{"tags":{"a":true}}', "tags"],
  ['{"tags":[]}', "tags"],
  ['{"span":"1s and more"}', "span"],
  ['{"start_time":5}', "start_time"],
  ['{"data":"*"}', "data"],
])("the body %s is refused with the path of its fault", (body, param) => {
  expect(refusal(() => whole("POST /v1/things/x:do", body)).param).toBe(param);
});

test("no value of a body or a query is quoted", () => {
  for (const body of [
    '{"text":["CANARY"]}',
    '{"start_time":"CANARY"}',
    '{"big":"CANARY"}',
    '{"name":"CANARY"}',
    '{"CANARY x":1}',
  ]) {
    expect(refusal(() => whole("POST /v1/things/x:do", body)).text).not.toContain("CANARY");
  }
  expect(refusal(() => query("GET /v1/things/x?big=CANARY")).text).not.toContain("CANARY");
});

test("nesting and the number of values are bounded before anything is built", () => {
  const deep = (levels: number) => `{"any":${'{"a":'.repeat(levels)}1${"}".repeat(levels)}}`;
  expect(refusal(() => whole("POST /v1/things/x:do", deep(200))).text).toContain("100 levels");
  expect(refusal(() => whole("POST /v1/things/x:do", "[".repeat(5_000_000))).text).toContain("100 levels");
  expect(() => whole("POST /v1/things/x:do", deep(40))).not.toThrow();
  const many = `{"numbers":[${"1,".repeat(1_100_000)}1]}`;
  expect(refusal(() => whole("POST /v1/things/x:do", many)).text).toContain("1000000 values");
});

test("names with escapes are read as they are, whatever earlier bodies had in their place", () => {
  const tags = (name: string) => whole("POST /v1/things/x:do", `{"tags":{"a":"1",${JSON.stringify(name)}:"2"}}`);
  for (const name of ["\\", '"', "\n", "\u0000", "\\", '"', "\\u0022", '"']) {
    expect(tags(name)).toEqual({ Call: { name: "things/x", tags: { a: "1", [name]: "2" } } });
  }
});

test("where all is in the body the query is empty, and without a body rule so is the body", () => {
  expect(refusal(() => whole("POST /v1/things/x:do?text=a")).text).toContain("in the body");
  expect(refusal(() => query("GET /v1/things/x", "{}")).text).toContain("no body");
});

test.each<[string, string, JsonValue]>([
  ["Sub", '{"deepText":"a"}', { deepText: "a" }],
  ["repeated Sub", '[{"deepText":"a"},{}]', [{ deepText: "a" }, {}]],
  ["string", '"a"', "a"],
  ["int64", "9007199254740993", "9007199254740993"],
  ["map int64", '{"a":1}', { a: "1" }],
  ["Color", '"COLOR_BLUE"', "COLOR_BLUE"],
])("the body may be a field that is a %s", (type, body, expected) => {
  const post = receiveOne(
    { ...wide, Request: { name: "string", value: type, other: "string" } },
    { pattern: { case: "post", value: "/v1/{name=a/*}" }, body: "value" },
    enums,
  );
  expect(post("POST /v1/a/b?other=o", body)).toEqual({ Call: { name: "a/b", other: "o", value: expected } });
  expect(post("POST /v1/a/b")).toEqual({ Call: { name: "a/b" } });
  expect(refusal(() => post("POST /v1/a/b?value=o")).param).toBeUndefined();
});

test("the path may name a resource that the body holds; both must agree", () => {
  const update = receiveOne(
    { Request: { book: "Book", mask: "google.protobuf.FieldMask" }, Book: { name: "string", title: "string" } },
    patch("/v1/{book.name=books/*}", "book"),
  );
  const expected = { Call: { book: { name: "books/1", title: "T" }, mask: "title" } };
  expect(update("PATCH /v1/books/1?mask=title", '{"title":"T"}')).toEqual(expected);
  expect(update("PATCH /v1/books/1?mask=title", '{"title":"T","name":"books/1"}')).toEqual(expected);
  expect(refusal(() => update("PATCH /v1/books/1", '{"name":"books/2"}')).param).toBe("book.name");
  expect(refusal(() => update("PATCH /v1/books/1", "[]")).param).toBe("book.name");
  expect(update("PATCH /v1/books/1", "null")).toEqual({ Call: { book: { name: "books/1" } } });
});

test("path variables may be numbers, truth values and enums", () => {
  const typed = receiveOne({ Request: { a: "int64", b: "bool", c: "Color" } }, get("/v1/{a}/{b}/{c}"), enums);
  expect(typed("GET /v1/-5/true/COLOR_RED")).toEqual({ Call: { a: "-5", b: true, c: "COLOR_RED" } });
  expect(refusal(() => typed("GET /v1/x/true/1")).param).toBe("a");
  expect(refusal(() => typed("GET /v1/99999999999999999999/true/1")).param).toBe("a");
  expect(refusal(() => typed("GET /v1/1/x/1")).param).toBe("b");
  expect(refusal(() => typed("GET /v1/1/true/x")).param).toBe("c");
});

test("no body and no query crash the binding: they are refused, or give a message that proto JSON can write", () => {
  const names = fc.constantFrom(
    "text",
    "sub",
    "deeper",
    "leaf",
    "tags",
    "any",
    "subs",
    "name",
    "big",
    "color",
    "x",
    "__proto__",
    "span",
  );
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(null, true, 1, -1.5, "a", "", "COLOR_RED", "1s", "things/x", 2 ** 60, [], {}),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(names, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  const body = fc.oneof(
    value.map((json) => JSON.stringify(json)),
    fc.string({ unit: fc.constantFrom(...'{}[]",:\\u1e-.atruenl sb'), maxLength: 30 }),
    fc.json(),
  );
  const text = fc.string({ unit: fc.constantFrom(..."=&%2fabtextsubdeeper._+things"), maxLength: 30 });
  fc.assert(
    fc.property(body, text, (someBody, someQuery) => {
      for (const call of [
        () => whole("POST /v1/things/x:do", someBody),
        () => query(`GET /v1/things/x?${someQuery}`),
      ]) {
        try {
          call();
        } catch (thrown) {
          if (!(thrown instanceof WeirError)) throw thrown;
          expect(thrown.reason).toBe(ErrorReason.INVALID_REQUEST);
        }
      }
    }),
    { numRuns },
  );
});
