import type { JsonValue } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { get, patch, receive } from "./testing/receive.ts";
import type { SchemaInit } from "./testing/schema.ts";

// The examples of https://github.com/googleapis/googleapis/blob/master/google/api/http.proto, in its order.
const examples: readonly (readonly [
  name: string,
  init: SchemaInit,
  calls: readonly (readonly [string, string, JsonValue])[],
])[] = [
  [
    "a name in the path",
    {
      messages: { GetMessageRequest: { name: "string" }, Message: { text: "string" } },
      methods: { GetMessage: { types: "GetMessageRequest -> Message", rule: get("/v1/{name=messages/*}") } },
    },
    [["GET /v1/messages/123456", "", { GetMessage: { name: "messages/123456" } }]],
  ],
  [
    "other fields in the query",
    {
      messages: {
        GetMessageRequest: { message_id: "string", revision: "int64", sub: "SubMessage" },
        SubMessage: { subfield: "string" },
        Message: { text: "string" },
      },
      methods: { GetMessage: { types: "GetMessageRequest -> Message", rule: get("/v1/messages/{message_id}") } },
    },
    [
      [
        "GET /v1/messages/123456?revision=2&sub.subfield=foo",
        "",
        { GetMessage: { messageId: "123456", revision: "2", sub: { subfield: "foo" } } },
      ],
      ["GET /v1/messages/123456", "", { GetMessage: { messageId: "123456" } }],
    ],
  ],
  [
    "a repeated parameter and fields of a message",
    {
      messages: { Request: { param: "repeated string", foo: "Foo" }, Foo: { a: "string", b: "string", c: "string" } },
      methods: { Call: { types: "Request -> Foo", rule: get("/v1/call") } },
    },
    [
      ["GET /v1/call?param=A&param=B", "", { Call: { param: ["A", "B"] } }],
      ["GET /v1/call?foo.a=A&foo.b=B&foo.c=C", "", { Call: { foo: { a: "A", b: "B", c: "C" } } }],
    ],
  ],
  [
    "a body that is one field",
    {
      messages: { UpdateMessageRequest: { message_id: "string", message: "Message" }, Message: { text: "string" } },
      methods: {
        UpdateMessage: {
          types: "UpdateMessageRequest -> Message",
          rule: patch("/v1/messages/{message_id}", "message"),
        },
      },
    },
    [
      [
        "PATCH /v1/messages/123456",
        '{ "text": "Hi!" }',
        { UpdateMessage: { messageId: "123456", message: { text: "Hi!" } } },
      ],
    ],
  ],
  [
    "a body that is all the rest",
    {
      messages: { Message: { message_id: "string", text: "string" } },
      methods: { UpdateMessage: { types: "Message -> Message", rule: patch("/v1/messages/{message_id}", "*") } },
    },
    [["PATCH /v1/messages/123456", '{ "text": "Hi!" }', { UpdateMessage: { messageId: "123456", text: "Hi!" } }]],
  ],
  [
    "additional bindings",
    {
      messages: { GetMessageRequest: { message_id: "string", user_id: "string" }, Message: { text: "string" } },
      methods: {
        GetMessage: {
          types: "GetMessageRequest -> Message",
          rule: {
            pattern: { case: "get", value: "/v1/messages/{message_id}" },
            additionalBindings: [get("/v1/users/{user_id}/messages/{message_id}")],
          },
        },
      },
    },
    [
      ["GET /v1/messages/123456", "", { GetMessage: { messageId: "123456" } }],
      ["GET /v1/users/me/messages/123456", "", { GetMessage: { userId: "me", messageId: "123456" } }],
    ],
  ],
  [
    "a path of a nested field",
    {
      messages: { Request: { message_id: "string", sub: "Sub" }, Sub: { subfield: "string" }, Message: {} },
      methods: { GetMessage: { types: "Request -> Message", rule: get("/v1/messages/{message_id}/{sub.subfield}") } },
    },
    [["GET /v1/messages/123456/foo", "", { GetMessage: { messageId: "123456", sub: { subfield: "foo" } } }]],
  ],
  [
    "a variable of one segment, in which everything is decoded",
    {
      messages: { Request: { var: "string" } },
      methods: { Call: { types: "Request -> Request", rule: get("/v1/{var}") } },
    },
    [
      ["GET /v1/-_.~09azAZ", "", { Call: { var: "-_.~09azAZ" } }],
      ["GET /v1/a%2Fb%3Fc%23d%20%C3%A9", "", { Call: { var: "a/b?c#d é" } }],
      ["GET /v1/a/b", "", "not found"],
    ],
  ],
  [
    "a variable of several segments, in which %2F and %2f stay",
    {
      messages: { Request: { var: "string" } },
      methods: { Call: { types: "Request -> Request", rule: get("/v1/{var=foo/*}") } },
    },
    [
      ["GET /v1/foo/a%20b", "", { Call: { var: "foo/a b" } }],
      ["GET /v1/foo/a%2Fb%2fc", "", { Call: { var: "foo/a%2Fb%2fc" } }],
      ["GET /v1/foo", "", "not found"],
    ],
  ],
  [
    "`**`, which is zero or more segments",
    {
      messages: { Request: { var: "string" } },
      methods: {
        Call: { types: "Request -> Request", rule: get("/v1/{var=**}") },
        Do: { types: "Request -> Request", rule: get("/v2/{var=foo/**}:do") },
      },
    },
    [
      ["GET /v1", "", { Call: {} }],
      ["GET /v1/a", "", { Call: { var: "a" } }],
      ["GET /v1/a/b%2Fc", "", { Call: { var: "a/b%2Fc" } }],
      ["GET /v2/foo:do", "", { Do: { var: "foo" } }],
      ["GET /v2/foo/a/b:do", "", { Do: { var: "foo/a/b" } }],
      ["GET /v2/foo/a", "", "not found"],
    ],
  ],
  [
    "a method of its own",
    {
      messages: { Request: { name: "string" } },
      methods: {
        Call: {
          types: "Request -> Request",
          rule: { pattern: { case: "custom", value: { kind: "REPORT", path: "/v1/{name=a/*}" } } },
        },
      },
    },
    [
      ["REPORT /v1/a/b", "", { Call: { name: "a/b" } }],
      ["GET /v1/a/b", "", "not found"],
    ],
  ],
];

test.each(examples.flatMap(([name, init, calls]) => calls.map((call) => [name, ...call, init] as const)))(
  "%s: %s %s",
  (_, line, body, expected, init) => {
    expect(receive(init)(line, body)).toEqual(expected);
  },
);
