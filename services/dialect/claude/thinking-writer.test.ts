import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ReasoningOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { createOmissions } from "../omissions.ts";
import { writeThinking } from "./thinking-writer.ts";
import { traitsOf } from "./traits.ts";

type Options = MessageInitShape<typeof ReasoningOptionsSchema>;

function write(model: string, options: Options, maxTokens = 4_096) {
  const omissions = createOmissions("anthropic-messages");
  const writing = writeThinking(create(ReasoningOptionsSchema, options), traitsOf(model), maxTokens, omissions);
  return { ...writing, params: omissions.warnings.map(({ param }) => param) };
}

const adaptive = { type: "adaptive" };
const disabled = { type: "disabled" };
const budget = (tokens: number) => ({ type: "enabled", budget_tokens: tokens });

const rules: readonly (readonly [string, Options, object, string[]])[] = [
  ["claude-opus-5", {}, {}, []],
  ["claude-opus-5", { effort: "high" }, { thinking: adaptive, effort: "high" }, []],
  ["claude-opus-5", { effort: "minimal" }, { thinking: adaptive, effort: "low" }, ["effort"]],
  ["claude-opus-5", { effort: "none" }, { thinking: disabled }, []],
  ["claude-opus-5", { effort: "none", summary: "none" }, { thinking: disabled }, []],
  [
    "claude-opus-5",
    { effort: "none", budgetTokens: 2_000, summary: "auto" },
    { thinking: disabled },
    ["budget_tokens", "summary"],
  ],
  ["claude-opus-5", { budgetTokens: 0 }, { thinking: disabled }, []],
  ["claude-opus-5", { budgetTokens: 2_000 }, { thinking: adaptive }, ["budget_tokens"]],
  ["claude-opus-5", { summary: "none" }, { thinking: { ...adaptive, display: "omitted" } }, []],
  ["claude-opus-5", { summary: "auto" }, { thinking: { ...adaptive, display: "summarized" } }, []],
  ["claude-opus-5", { summary: "detailed" }, { thinking: { ...adaptive, display: "summarized" } }, ["summary"]],
  ["claude-sonnet-4-6", { effort: "low", budgetTokens: 2_000 }, { thinking: budget(2_000), effort: "low" }, []],
  ["claude-haiku-4-5", { effort: "low", budgetTokens: 2_000 }, { thinking: budget(2_000) }, ["effort"]],
  ["claude-haiku-4-5", { effort: "medium" }, { thinking: budget(2_048) }, ["effort"]],
  ["claude-haiku-4-5", { effort: "low" }, { thinking: budget(1_024) }, ["effort"]],
  ["claude-haiku-4-5", { summary: "auto" }, {}, ["summary"]],
];

test.each(rules)("how much %s thinks: %j", (model, options, expected, params) => {
  expect(write(model, options)).toEqual({ ...expected, params: params.map((param) => `reasoning.${param}`) });
});

test("every option is in the table", () => {
  const named = new Set(rules.flatMap(([, options]) => Object.keys(options)));
  expect([...named].toSorted()).toEqual(ReasoningOptionsSchema.fields.map(({ localName }) => localName).toSorted());
});

test.each<[Options, string]>([
  [{ effort: "extreme" }, "reasoning.effort"],
  [{ effort: "low", summary: "poem" }, "reasoning.summary"],
  [{ budgetTokens: 1_023 }, "reasoning.budget_tokens"],
])("refuses %j", (options, param) => {
  expect(() => write("claude-opus-5", options)).toThrow(
    expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } }),
  );
});

test("an older model does not think where the reply leaves no room for it", () => {
  expect(write("claude-haiku-4-5", { effort: "max" }, 1_024)).toEqual({ params: ["reasoning.effort"] });
});
