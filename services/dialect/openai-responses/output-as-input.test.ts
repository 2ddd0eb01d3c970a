import fc from "fast-check";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { openaiResponses } from "./codec.ts";
import { outputAsInput } from "./output-as-input.ts";
import { answerOptions, numRuns, reply } from "./testing.ts";

test("items are kept, without what only answers have", () => {
  const output = [
    { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "gA", status: "completed" },
    {
      type: "message",
      id: "msg_1",
      role: "assistant",
      status: "completed",
      phase: "final_answer",
      content: [
        { type: "output_text", text: "a", annotations: [], logprobs: [{ token: "a" }], parsed: null },
        { type: "refusal", refusal: "b" },
        "odd",
      ],
    },
    {
      type: "function_call",
      id: "fc_1",
      call_id: "c",
      name: "f",
      arguments: "{}",
      parsed_arguments: null,
      created_by: "x",
    },
    { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search" } },
    { type: "custom_tool_call_output", call_id: "c", output: "x", status: "completed" },
    { type: "new_item", id: "n" },
  ];
  expect(outputAsInput({ output })).toEqual([
    { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "gA", status: "completed" },
    {
      type: "message",
      id: "msg_1",
      role: "assistant",
      status: "completed",
      phase: "final_answer",
      content: [{ type: "output_text", text: "a", annotations: [] }, { type: "refusal", refusal: "b" }, "odd"],
    },
    { type: "function_call", id: "fc_1", call_id: "c", name: "f", arguments: "{}" },
    { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search" } },
    { type: "custom_tool_call_output", call_id: "c", output: "x" },
    { type: "new_item", id: "n" },
  ]);
});

test("what a request cannot repeat is left out", () => {
  const output = [
    { type: "computer_call_output", status: "failed" },
    { type: "custom_tool_call_output", status: "incomplete" },
    { type: "additional_tools", role: "assistant" },
    "odd",
    null,
  ];
  expect(outputAsInput({ output })).toEqual([]);
  expect(outputAsInput({})).toEqual([]);
});

test("every answer that is written can be sent back, and says the same", () => {
  fc.assert(
    fc.property(reply, (events) => {
      const answer = JSON.parse(openaiResponses.writeAnswer(events, answerOptions)) as JsonObject;
      const input = [{ role: "user", content: "go on" }, ...outputAsInput(answer)];
      const { messages } = openaiResponses.readRequest({ model: "m", input });
      const parts = new Map<number, string | undefined>();
      for (const { kind } of events) if (kind.case === "delta") parts.set(kind.value.part, kind.value.content.case);
      const kinds = [...parts].sort(([a], [b]) => a - b).map(([, kind]) => kind);
      expect(messages.slice(1).flatMap((message) => message.parts.map((part) => part.content.case))).toEqual(kinds);
    }),
    { numRuns },
  );
});
