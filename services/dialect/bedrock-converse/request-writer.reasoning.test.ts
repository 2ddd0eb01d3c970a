import type { MessageInitShape } from "@bufbuild/protobuf";
import { ReasoningOptionsSchema, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { claude, newest, oldest, nova, llama, profile, write, refused, add, names } from "./testing/written.ts";

const high = { effort: "high" };
const budget = { budgetTokens: 2_000 };

test("how much to think has no fields but these", () => {
  expect(names(ReasoningOptionsSchema)).toEqual(["budget_tokens", "effort", "summary"]);
});

test.each<[string, MessageInitShape<typeof ReasoningOptionsSchema>, string, JsonObject, readonly string[]]>([
  [
    "an effort",
    high,
    claude,
    { additionalModelRequestFields: { thinking: { type: "adaptive" } }, outputConfig: high },
    [],
  ],
  [
    "a budget",
    budget,
    claude,
    { additionalModelRequestFields: { thinking: { type: "enabled", budget_tokens: 2_000 } } },
    [],
  ],
  [
    "a budget of a newer model",
    budget,
    newest,
    { additionalModelRequestFields: { thinking: { type: "adaptive" } } },
    ["field_approximated reasoning.budget_tokens"],
  ],
  [
    "an effort of an older model",
    high,
    oldest,
    { additionalModelRequestFields: { thinking: { type: "enabled", budget_tokens: 3_276 } } },
    ["field_approximated reasoning.effort"],
  ],
  ["a summary of an older model", { summary: "auto" }, oldest, {}, ["field_dropped reasoning.summary"]],
  ["no thinking", { effort: "none" }, claude, { additionalModelRequestFields: { thinking: { type: "disabled" } } }, []],
  ["an effort of a hidden model", high, profile, { outputConfig: high }, []],
  [
    "a budget of a hidden model",
    budget,
    profile,
    { additionalModelRequestFields: { thinking: { type: "enabled", budget_tokens: 2_000 } } },
    [],
  ],
  [
    "no thinking of a hidden model",
    { budgetTokens: 0 },
    profile,
    { additionalModelRequestFields: { thinking: { type: "disabled" } } },
    [],
  ],
  [
    "an effort elsewhere",
    { effort: "minimal", summary: "auto" },
    nova,
    { outputConfig: { effort: "low" } },
    ["field_dropped reasoning.summary", "field_approximated reasoning.effort"],
  ],
  ["no thinking elsewhere", { effort: "none" }, llama, {}, ["field_dropped reasoning.effort"]],
  ["a budget of none elsewhere", { budgetTokens: 0 }, llama, {}, ["field_dropped reasoning.budget_tokens"]],
])("%s", (_, reasoning, model, body, warnings) => {
  expect(write({ reasoning }, model)).toEqual({ body, warnings });
});

test("a budget is refused where no model takes one", () => {
  expect(refused({ reasoning: budget }, llama)).toBe("reasoning.budget_tokens");
});

test("top_k goes where the model's is known, and the newest models take no sampler at all", () => {
  const init = { sampling: { topK: 5, temperature: 0.5, topP: 0.5 } };
  expect(write(init, nova).body["additionalModelRequestFields"]).toEqual({ inferenceConfig: { topK: 5 } });
  expect(write(init, llama)).toEqual({
    body: { inferenceConfig: { temperature: 0.5, topP: 0.5 } },
    warnings: ["field_dropped sampling.top_k"],
  });
  expect(write(init, newest)).toEqual({
    body: {},
    warnings: ["field_dropped sampling.top_k", "field_dropped sampling.temperature", "field_dropped sampling.top_p"],
  });
});

test("a Claude that thinks gets no sampling that it refuses then, and does not think when it must call a tool", () => {
  const reasoning = { effort: "high" };
  const sampling = { temperature: 0.5, topP: 0.9, topK: 5 };
  expect(write({ reasoning, sampling })).toEqual({
    body: { additionalModelRequestFields: { thinking: { type: "adaptive" } }, outputConfig: { effort: "high" } },
    warnings: ["field_dropped sampling.temperature", "field_dropped sampling.top_p", "field_dropped sampling.top_k"],
  });
  const must = { tools: [add], toolChoice: { mode: ToolChoice_Mode.REQUIRED } };
  expect(write({ reasoning, sampling, ...must })).toMatchObject({
    body: { additionalModelRequestFields: { top_k: 5 }, inferenceConfig: { temperature: 0.5, topP: 0.9 } },
    warnings: ["field_dropped reasoning"],
  });
});
