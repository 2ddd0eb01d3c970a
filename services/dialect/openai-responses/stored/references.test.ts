import fc from "fast-check";
import { expect, test } from "vitest";
import { itemsById, referencesIn, resolveReferences } from "./references.ts";

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const reference = (id: unknown) => ({ type: "item_reference", id });

const refused = expect.objectContaining({ metadata: { param: "input" } }) as Error;

test("an input refers to the items that it names, each once", () => {
  const user = { role: "user", content: "about an item_reference" };
  expect(referencesIn(json([reference("msg_1"), user, reference("fc_1")]))).toEqual(["msg_1", "fc_1"]);
  expect(() => referencesIn(json([reference("msg_1"), user, reference("msg_1")]))).toThrow(refused);
});

test("code that ran in a container, and a picture without its bytes, are referred to by their ids", () => {
  const ran = { type: "code_interpreter_call", id: "ci_1", container_id: "cntr_1", code: "1" };
  const pictures = [{ id: "ig_1" }, { id: "ig_2", result: null }, { id: "ig_3", result: "aGk=" }].map((item) => ({
    type: "image_generation_call",
    ...item,
  }));
  const input = json([ran, ...pictures]);
  expect(referencesIn(input)).toEqual(["ci_1", "ig_1", "ig_2"]);
  const stored = { ...ran, container_id: "cntr_own" };
  const { whole, rest } = resolveReferences(input, new Map([["ci_1", stored]]));
  expect(JSON.parse(whole.toString())).toEqual([stored, ...pictures]);
  expect(JSON.parse(rest.toString())).toEqual(pictures);
});

test.each([
  ["a text", "item_reference"],
  ["words", [{ role: "user", content: '{"type":"item_reference","id":"msg_1"}' }]],
  ["another type", [{ type: "message", id: "item_reference" }]],
  ["no id", [reference(undefined), reference(""), reference(1), reference("x".repeat(257))]],
  ["an object", { input: reference("msg_1") }],
])("%s refers to nothing", (_, input) => {
  expect(referencesIn(json(input))).toEqual([]);
});

test("more than a thousand references are refused", () => {
  const many = (count: number) => json(Array.from({ length: count }, (_, index) => reference(`msg_${index}`)));
  expect(referencesIn(many(1_000))).toHaveLength(1_000);
  expect(() => referencesIn(many(1_001))).toThrow(refused);
});

test("items are those of the first output that has them, without what only answers have", () => {
  const part = { type: "output_text", text: "new", logprobs: [] };
  const items = itemsById([
    json([{ type: "message", id: "msg_1", content: [part] }]),
    json([
      { type: "message", id: "msg_1", content: [] },
      { type: "function_call", id: "fc_1", parsed_arguments: {} },
      { type: "odd" },
    ]),
    Buffer.from("no JSON"),
    json({ id: "msg_2" }),
  ]);
  expect([...items]).toEqual([
    ["msg_1", { type: "message", id: "msg_1", content: [{ type: "output_text", text: "new" }] }],
    ["fc_1", { type: "function_call", id: "fc_1" }],
  ]);
});

test("what is known stands in the place of its reference, the rest stays as it was", () => {
  const known = new Map([["a", { type: "message", id: "a", n: 1 }]]);
  const others = [{ role: "user", content: "hi" }, reference("b"), "odd", reference(1)];
  const { whole, rest } = resolveReferences(json([reference("a"), ...others, reference("a")]), known);
  expect(JSON.parse(whole.toString())).toEqual([known.get("a"), ...others, known.get("a")]);
  expect(JSON.parse(rest.toString())).toEqual(others);
});

test("numbers keep their digits", () => {
  const items = itemsById([Buffer.from('[{"type":"odd","id":"a","n":12345678901234567890}]')]);
  const { whole } = resolveReferences(json([reference("a")]), items);
  expect(whole.toString()).toContain("12345678901234567890");
});

test("nothing that is sent in makes it fail", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const input = Buffer.from(text.replace("{", '{"type":"item_reference","id":"a",'));
      const known = itemsById([input]);
      referencesIn(input);
      resolveReferences(input, known);
    }),
  );
});
