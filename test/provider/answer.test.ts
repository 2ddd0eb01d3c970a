import fc from "fast-check";
import { expect, test } from "vitest";
import { type ChatBody, countInputTokens, countWords, cutTokens, decideReply, sampleOf } from "./answer.ts";

const ask = (content: unknown, more: Partial<ChatBody> = {}): ChatBody => ({
  model: "m",
  messages: [{ role: "user", content }],
  ...more,
});

test("tokens keep the text and are four bytes long, but for the last and for those that end in a wide character", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const tokens = cutTokens(text);
      expect(tokens.join("")).toBe(text);
      for (const [index, token] of tokens.entries()) {
        const bytes = Buffer.byteLength(token);
        expect(bytes).toBeLessThanOrEqual(7);
        if (index < tokens.length - 1) expect(bytes).toBeGreaterThanOrEqual(4);
      }
    }),
  );
});

test("input tokens: three a message and one for each four bytes begun", () => {
  expect(countInputTokens(ask("12345678"))).toBe(5);
  expect(countInputTokens(ask("123456789"))).toBe(6);
  expect(countInputTokens(ask([{ type: "text", text: "1234" }, { type: "image_url" }]))).toBe(4);
  expect(countInputTokens({ messages: [{ content: "a" }, { content: null }, 7] })).toBe(10);
});

test("the demo's answer says what it is and how many words it got", () => {
  const reply = decideReply(ask("to be or not"), {});
  const text = reply.pieces.join(0, reply.pieces.count);
  expect(text).toContain("Weir's built-in demo model");
  expect(text).toContain("4 words");
  expect(reply.outputTokens).toBe(cutTokens(text).length);
  expect(decideReply(ask("to be or not"), {})).toMatchObject({ outputTokens: reply.outputTokens, finish: "stop" });
  expect(countWords("  a\n b ")).toBe(2);
});

test("a limit cuts the answer and says so; copies are counted each", () => {
  expect(decideReply(ask("x", { max_tokens: 5 }), {})).toMatchObject({ finish: "length", outputTokens: 5 });
  expect(decideReply(ask("x", { max_completion_tokens: 5, n: 3 }), {})).toMatchObject({ outputTokens: 15 });
  expect(decideReply(ask("x", { max_tokens: 5 }), { tokens: 5 })).toMatchObject({ finish: "stop" });
});

test("filler text has the tokens that were asked for, and its pieces are those of its text", () => {
  const { pieces } = decideReply(ask("x"), { tokens: 1000 });
  const text = pieces.join(0, 1000);
  expect(cutTokens(text)).toHaveLength(1000);
  expect(pieces.join(10, 12)).toBe(pieces.at(10) + pieces.at(11));
});

const tools = [
  {
    type: "function",
    function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
  { type: "function", function: { name: "get_time", parameters: { type: "object" } } },
];

test("tools that the last message names are called, in parallel unless that is refused", () => {
  const body = ask("please get_weather and get_time", { tools });
  const reply = decideReply(body, {});
  expect(reply.finish).toBe("tool_calls");
  expect(reply.toolCalls).toEqual([
    { id: "call_sim_0", name: "get_weather", arguments: '{"city":"weir"}' },
    { id: "call_sim_1", name: "get_time", arguments: "{}" },
  ]);
  expect(decideReply({ ...body, parallel_tool_calls: false }, {}).toolCalls).toHaveLength(1);
  expect(decideReply({ ...body, tool_choice: "none" }, {}).toolCalls).toHaveLength(0);
  expect(decideReply(ask("hello", { tools }), {}).toolCalls).toHaveLength(0);
  expect(decideReply(ask("hello", { tools, tool_choice: "required" }), {}).toolCalls).toHaveLength(1);
  expect(decideReply(ask("hello", { tools }), { toolCalls: 3 }).toolCalls).toHaveLength(3);
  const afterTool = { model: "m", tools, messages: [{ role: "tool", content: "get_weather: rain" }] };
  expect(decideReply(afterTool, {}).toolCalls).toHaveLength(0);
});

test("a sample fits its schema, and a schema that refers to itself ends", () => {
  expect(
    sampleOf({
      type: "object",
      properties: {
        name: { type: "string" },
        count: { type: "integer", minimum: 4 },
        kind: { enum: ["a", "b"] },
        list: { type: "array", items: { $ref: "#/$defs/item" } },
        none: { type: "null" },
        either: { anyOf: [{ type: "boolean" }, { type: "string" }] },
      },
      $defs: { item: { const: 7 } },
    }),
  ).toEqual({ name: "weir", count: 4, kind: "a", list: [7], none: null, either: true });
  expect(JSON.stringify(sampleOf({ type: "object", properties: { again: { $ref: "#" } } }))).toMatch(/null/);
});
