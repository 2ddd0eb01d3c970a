import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ToolChoice_Mode, ToolChoiceSchema, ToolSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { writeJson } from "../json.ts";
import { writeToolChoice, writeTools } from "./tools-writer.ts";

type ToolInit = MessageInitShape<typeof ToolSchema>;
type ChoiceInit = MessageInitShape<typeof ToolChoiceSchema>;

function write(tool: ToolInit): unknown {
  return JSON.parse(writeJson(writeTools([create(ToolSchema, tool)], [])[0]));
}

function choose(choice: ChoiceInit | undefined, parallel: boolean | undefined, hasTools: boolean) {
  const warnings: Warning[] = [];
  const whole = choice && create(ToolChoiceSchema, choice);
  return { written: writeToolChoice(whole, parallel, hasTools, warnings), params: warnings.map(({ param }) => param) };
}

function unsupported(param: string): unknown {
  return expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } });
}

const { AUTO, NONE, REQUIRED, UNSPECIFIED } = ToolChoice_Mode;

test.each<[ChoiceInit | undefined, boolean | undefined, unknown, string[]?]>([
  [undefined, undefined, undefined],
  [{ mode: UNSPECIFIED }, undefined, undefined],
  [{ mode: AUTO }, undefined, { type: "auto" }],
  [{ mode: REQUIRED }, false, { type: "any", disable_parallel_tool_use: true }],
  [{ mode: REQUIRED, tools: ["f"] }, true, { type: "tool", name: "f", disable_parallel_tool_use: false }],
  [undefined, false, { type: "auto", disable_parallel_tool_use: true }],
  [{ mode: NONE }, undefined, { type: "none" }],
  [{ mode: NONE }, true, { type: "none" }, ["parallel_tool_calls"]],
])("tool choice %j, parallel %s", (choice, parallel, written, params = []) => {
  expect(choose(choice, parallel, true)).toEqual({ written, params });
});

test.each<[ChoiceInit, boolean, string]>([
  [{ mode: REQUIRED, tools: ["f", "g"] }, true, "tool_choice.tools"],
  [{ mode: AUTO, tools: ["f"] }, true, "tool_choice.tools"],
  [{ mode: REQUIRED }, false, "tool_choice"],
])("refuses tool choice %j, with tools: %s", (choice, hasTools, param) => {
  expect(() => choose(choice, undefined, hasTools)).toThrow(unsupported(param));
});

test("without tools a choice says nothing and is left out", () => {
  expect(choose({ mode: AUTO }, true, false)).toEqual({
    written: undefined,
    params: ["tool_choice", "parallel_tool_calls"],
  });
});

test("a function, whole", () => {
  const value = { name: "f", description: "F", parametersSchema: '{"type":"object"}', strict: false };
  expect(write({ kind: { case: "function", value }, cacheControl: { ttlSeconds: 300 } })).toEqual({
    name: "f",
    description: "F",
    input_schema: { type: "object" },
    strict: false,
    cache_control: { type: "ephemeral", ttl: "5m" },
  });
});

test.each([
  ["", { type: "object", properties: {} }],
  ["{}", { type: "object" }],
  [' { "properties": {"a": {}} }', { type: "object", properties: { a: {} } }],
  ['{"type":null,"a":1}', { type: "object", a: 1 }],
])("a schema gets the type that the vendor demands: %s", (parametersSchema, expected) => {
  const tool: ToolInit = { kind: { case: "function", value: { name: "f", parametersSchema } } };
  expect(write(tool)).toEqual({ name: "f", input_schema: expected });
});

test.each(['{"type":"array"}', "true", "{"])("refuses a schema of anything but an object: %s", (parametersSchema) => {
  const tool: ToolInit = { kind: { case: "function", value: { name: "f", parametersSchema } } };
  expect(() => write(tool)).toThrow(unsupported("tools[0].function.parameters_schema"));
});

test("tools that the vendor runs, by types of its own only", () => {
  const server = (type: string): ToolInit => ({ kind: { case: "server", value: { type, settings: { max_uses: 1 } } } });
  expect(write(server("web_search_20250305"))).toEqual({ type: "web_search_20250305", max_uses: 1 });
  for (const type of ["web_search", "web_search_2025_08_26", "google_search"]) {
    expect(() => write(server(type))).toThrow(unsupported("tools[0].server.type"));
  }
});
