import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { audioEvent, textEvent } from "../events.ts";
import { textShapeOf } from "./text-shape.ts";

const chunk = (content: string, more: object = {}) =>
  JSON.stringify({ id: "c", model: "gpt", choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more });

test.each<[string, (content: string, padding: string) => string, number]>([
  ["plain", (content) => chunk(content), 2],
  ["with padding", (content, padding) => chunk(content, { usage: null, obfuscation: padding }), 3],
])("two chunks whose texts differ have one shape: %s", (_, write, count) => {
  const shape = textShapeOf(write("a", "xyz"), textEvent(1, 2, "a"));
  expect(shape).toEqual(textShapeOf(write("bc", "x"), textEvent(1, 2, "bc")));
  expect(shape).toMatchObject({ choice: 1, part: 2 });
  expect(shape?.pieces).toHaveLength(count);
  expect(shape?.pieces.join("bc")).toBe(write("bc", "bc"));
});

test.each<[string, string, GenerateEvent]>([
  ["another member has the name", '{"content":"a","choices":[{"delta":{"content":"a"}}]}', textEvent(0, 0, "a")],
  ["the last of two members counts", '{"choices":[{"delta":{"content":"a","content":"a"}}]}', textEvent(0, 0, "a")],
  ["a name only ends so", '{"choices":[{"delta":{"\\"content":"a","content" :"a"}}]}', textEvent(0, 0, "a")],
  ["the text is escaped", chunk('"'), textEvent(0, 0, '"')],
  ["the text is that of a later choice", '{"choices":[{},{"delta":{"content":"a"}}]}', textEvent(1, 0, "a")],
  [
    "the first choice says nothing",
    '{"choices":[{"index":0,"delta":{"content":""}},{"index":1,"delta":{"content":"a"}}]}',
    textEvent(1, 0, "a"),
  ],
  ["padding stands inside of something else", chunk("a", { x: { y: 1, obfuscation: "z" } }), textEvent(0, 0, "a")],
  ["the event is no text", chunk("a"), audioEvent(0, 0, { id: "s" })],
])("a chunk has no shape when %s", (_, data, event) => {
  expect(textShapeOf(data, event)).toBeUndefined();
});
