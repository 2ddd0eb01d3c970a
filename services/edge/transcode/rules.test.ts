import { expect, test } from "vitest";
import { resolveHttpMethods } from "./rules.ts";
import { createTestService, type RuleInit, type SchemaInit } from "./testing/schema.ts";

const messages: SchemaInit["messages"] = {
  Request: {
    name: "string",
    color: "Color",
    sub: "Sub",
    names: "repeated string",
    start_time: "google.protobuf.Timestamp",
    amount: "google.protobuf.Int64Value",
    times: "repeated google.protobuf.Timestamp",
    by_key: "oneof choice string",
  },
  Sub: { deep_text: "string", inner: "Inner" },
  Inner: { leaf: "int32" },
  Maps: { tags: "map string" },
  Lists: { subs: "repeated Sub" },
  Loop: { text: "string", loop: "Loop" },
  Open: { any: "google.protobuf.Struct", value: "google.protobuf.Value", packed: "google.protobuf.Any" },
  Failing: { error: "string" },
  Reply: { text: "string", failing: "Failing" },
};

function resolve(types: string, rule: RuleInit | undefined) {
  const service = createTestService({
    messages,
    enums: { Color: ["COLOR_UNSPECIFIED"] },
    methods: { Call: rule === undefined ? { types } : { types, rule } },
  });
  return resolveHttpMethods(service.methods)[0]?.bindings ?? [];
}

const get = (value: string): RuleInit => ({ pattern: { case: "get", value } });
const post = (value: string, body: string): RuleInit => ({ pattern: { case: "post", value }, body });

test("a rule says where each field comes from", () => {
  const [binding] = resolve("Request -> Reply", get("/v1/{name=a/*}/{sub.inner.leaf}"));
  expect(binding?.httpMethod).toBe("GET");
  expect(binding?.pathParameters.map(({ fieldPath }) => fieldPath)).toEqual(["name", "sub.inner.leaf"]);
  expect(binding?.queryParameters.map(({ name, jsonName }) => [name, jsonName])).toEqual([
    ["color", "color"],
    ["sub.deep_text", "sub.deepText"],
    ["names", "names"],
    ["start_time", "startTime"],
    ["amount", "amount"],
    ["times", "times"],
    ["by_key", "byKey"],
  ]);
  expect(binding?.body).toEqual({ kind: "none" });
});

test("what the body sets is no query parameter", () => {
  const [one] = resolve("Request -> Reply", post("/v1/{name=a/*}", "sub"));
  expect(one?.queryParameters.map(({ name }) => name)).toEqual([
    "color",
    "names",
    "start_time",
    "amount",
    "times",
    "by_key",
  ]);
  expect(resolve("Request -> Reply", post("/v1/{name=a/*}", "*"))[0]?.queryParameters).toEqual([]);
});

test("additional bindings are ways of their own, with bodies of their own", () => {
  const rule: RuleInit = {
    pattern: { case: "get", value: "/v1/a" },
    additionalBindings: [post("/v1/b", "*"), get("/v1/c")],
  };
  const bindings = resolve("Request -> Reply", rule);
  expect(bindings.map(({ httpMethod, template, body }) => [httpMethod, template.text, body.kind])).toEqual([
    ["GET", "/v1/a", "none"],
    ["POST", "/v1/b", "all"],
    ["GET", "/v1/c", "none"],
  ]);
});

test.each(["get", "put", "post", "delete", "patch"] as const)("%s is the method of its name", (name) => {
  expect(resolve("Request -> Reply", { pattern: { case: name, value: "/v1/a" } })[0]?.httpMethod).toBe(
    name.toUpperCase(),
  );
});

test("a response body is a field of the response, which may be a list", () => {
  const rule: RuleInit = { pattern: { case: "get", value: "/v1/a" }, responseBody: "names" };
  expect(resolve("Request -> Request", rule)[0]?.responseBody?.name).toBe("names");
});

const custom = (kind: string): RuleInit => ({ pattern: { case: "custom", value: { kind, path: "/v1/a" } } });

test.each<[string, string, RuleInit | undefined, string]>([
  ["no rule", "Request -> Reply", undefined, "it has no rule"],
  ["a client that streams", "stream Request -> Reply", get("/v1/a"), "its client streams"],
  ["both streaming", "stream Request -> stream Reply", get("/v1/a"), "its client streams"],
  ["a template that is none", "Request -> Reply", get("/v1/{name=**}/x"), "must be the last"],
  ["an unknown field in the path", "Request -> Reply", get("/v1/{nope}"), "has no field nope"],
  ["a path through no message", "Request -> Reply", get("/v1/{name.x}"), "has no field name.x"],
  ["a path through a list", "Lists -> Reply", post("/v1/{subs.deep_text}", "*"), "has no field subs.deep_text"],
  ["a message in the path", "Request -> Reply", get("/v1/{sub}"), "is no scalar or enum"],
  ["a time in the path", "Request -> Reply", get("/v1/{start_time}"), "is no scalar or enum"],
  ["a list in the path", "Request -> Reply", get("/v1/{names}"), "is no scalar or enum"],
  ["a map in the path", "Maps -> Reply", post("/v1/{tags}", "*"), "is no scalar or enum"],
  ["JSON's name in the path", "Request -> Reply", get("/v1/{byKey}"), "has no field byKey"],
  ["an unknown body", "Request -> Reply", post("/v1/a", "nope"), "the body is nope"],
  ["a nested body", "Request -> Reply", post("/v1/a", "sub.inner"), "the body is sub.inner"],
  ["path and body in one field", "Request -> Reply", post("/v1/{name}", "name"), "both set name"],
  ["a body on GET", "Request -> Reply", { pattern: { case: "get", value: "/v1/a" }, body: "*" }, "GET has no body"],
  [
    "a body on DELETE",
    "Request -> Reply",
    { pattern: { case: "delete", value: "/v1/a" }, body: "sub" },
    "DELETE has no body",
  ],
  ["a map in the query", "Maps -> Reply", get("/v1/a"), "tags is a map"],
  ["messages in the query", "Lists -> Reply", get("/v1/a"), "subs is a list of messages"],
  ["recursion in the query", "Loop -> Reply", get("/v1/a"), "loop is of a type that contains itself"],
  ["free-form JSON in the query", "Open -> Reply", get("/v1/a"), "packed is free-form JSON"],
  [
    "an unknown response body",
    "Request -> Reply",
    { pattern: { case: "get", value: "/v1/a" }, responseBody: "x" },
    "the response body is x",
  ],
  ["OPTIONS", "Request -> Reply", custom("OPTIONS"), "no method that a rule may have"],
  ["a method in small letters", "Request -> Reply", custom("get"), "no method that a rule may have"],
  [
    "a binding without a path",
    "Request -> Reply",
    { ...get("/v1/a"), additionalBindings: [{}] } as RuleInit,
    "has no path",
  ],
  [
    "nested additional bindings",
    "Request -> Reply",
    { ...get("/v1/a"), additionalBindings: [{ ...get("/v1/b"), additionalBindings: [get("/v1/c")] }] } as RuleInit,
    "an additional binding has additional bindings",
  ],
  ["a stream whose messages look like failures", "Request -> stream Failing", get("/v1/a"), "has a field error"],
  [
    "a stream of parts that look like failures",
    "Request -> stream Reply",
    { pattern: { case: "get", value: "/v1/a" }, responseBody: "failing" },
    "has a field error",
  ],
])("%s cannot be served", (_, types, rule, fault) => {
  expect(() => resolve(types, rule)).toThrow(fault);
  expect(() => resolve(types, rule)).toThrow("test.Messaging/Call: ");
});

test("all faults are told at once", () => {
  const service = createTestService({
    messages,
    enums: { Color: ["COLOR_UNSPECIFIED"] },
    methods: {
      One: { types: "Request -> Reply" },
      Two: { types: "Request -> Reply", rule: get("/v1/{nope}") },
      Three: { types: "Request -> Reply", rule: get("/v1/ok") },
    },
  });
  expect(() => resolveHttpMethods(service.methods)).toThrow(
    /Messaging\/One: it has no rule\ntest\.Messaging\/Two: test\.Request has no field nope$/,
  );
});
