import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { compatibleTraits } from "./traits.ts";
import { vendorTraits } from "./vendors.ts";
import { writeRequest } from "./write-request.ts";

type Init = MessageInitShape<typeof GenerateRequestSchema>;

const here = "http://127.0.0.1:8000";
const text = (value: string) => ({ content: { case: "text" as const, value: { text: value } } });
const call = { id: "call_1", name: "f", arguments: "{}", signature: Buffer.from("sig") };
const conversation: Init = {
  messages: [
    { role: Role.DEVELOPER, parts: [text("be brief")] },
    { role: Role.USER, parts: [text("hi")], name: "ann" },
    {
      role: Role.ASSISTANT,
      parts: [
        { content: { case: "reasoning", value: { text: "hm", signature: Buffer.from("s") } } },
        { content: { case: "toolCall", value: call } },
      ],
    },
  ],
};

function write(vendor: string, init: Init) {
  const traits = vendorTraits(here, vendor) ?? compatibleTraits;
  const options = { model: "m", stream: false, maxOutputTokensDefault: 1 };
  const { body, warnings } = writeRequest(create(GenerateRequestSchema, init), options, traits);
  return { body, dropped: warnings.map(({ param }) => param) };
}

const reasoning = "messages[2].parts[0].reasoning";
const signature = "messages[2].parts[1].tool_call.signature";
const bare = { role: "assistant", tool_calls: [expect.objectContaining({ id: "call_1" })] };

test.each<[string, object, string[]]>([
  ["nobody-knows", bare, [reasoning, signature]],
  ["mistral", bare, ["messages[1].name", reasoning, signature]],
  ["groq", { ...bare, reasoning: "hm" }, ["messages[1].name", `${reasoning}.signature`, signature]],
  ["deepseek", { ...bare, reasoning_content: "hm" }, [`${reasoning}.signature`, signature]],
  [
    "openrouter",
    { ...bare, reasoning_details: [{ type: "reasoning.text", text: "hm", signature: "s", index: 0 }] },
    [signature],
  ],
  ["gemini", bare, [reasoning]],
])("what %s gets of a turn with reasoning and a call", (vendor, turn, missing) => {
  const { body, dropped } = write(vendor, conversation);
  const [first, second, third] = body["messages"] as object[];
  expect(first).toEqual({ role: "system", content: "be brief" });
  expect(second).toEqual({
    role: "user",
    content: "hi",
    ...(missing.includes("messages[1].name") ? {} : { name: "ann" }),
  });
  expect(third).toMatchObject(turn);
  expect(dropped.toSorted()).toEqual(missing.toSorted());
});

test("Gemini's door gets a call's signature", () => {
  const turn = (write("gemini", conversation).body["messages"] as object[])[2];
  expect(turn).toMatchObject({ tool_calls: [{ extra_content: { google: { thought_signature: "sig" } } }] });
});

const hints: Init = {
  messages: [{ role: Role.USER, parts: [text("hi")] }],
  maxOutputTokens: 9,
  user: "u",
  store: true,
  metadata: { team: "a" },
  serviceTier: "flex",
  verbosity: "low",
  promptCacheKey: "k",
  promptCacheRetention: "24h",
  sampling: { seed: 7n, topK: 5, logitBias: { 1: 2 } },
};

test("Mistral, which refuses what it does not know, gets what it knows alone", () => {
  const { body, dropped } = write("mistral", hints);
  expect(body).toEqual({
    model: "m",
    messages: [{ role: "user", content: "hi" }],
    max_tokens: 9,
    random_seed: 7,
  });
  expect(dropped.toSorted()).toEqual([
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "sampling.logit_bias",
    "sampling.top_k",
    "service_tier",
    "store",
    "user",
    "verbosity",
  ]);
});

test.each(["openrouter", "together", "fireworks", "vllm"])("%s gets top_k", (vendor) => {
  expect(write(vendor, hints)).toMatchObject({ body: { top_k: 5, seed: 7, user: "u" }, dropped: [] });
});

test.each<[string, Init, string]>([
  ["mistral", { topLogprobs: 1 }, "top_logprobs"],
  ["groq", { topLogprobs: 0 }, "top_logprobs"],
  ["groq", { choiceCount: 2 }, "choice_count"],
])("%s is not asked for what it cannot do: %j", (vendor, init, param) => {
  expect(() => write(vendor, init)).toThrow(
    expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } }) as Error,
  );
});

test("a vendor is known by its origin, whatever its provider is called", () => {
  expect(vendorTraits("https://api.mistral.ai", "openai")).toBe(vendorTraits(here, "mistral"));
  expect(vendorTraits("https://api.deepseek.com", "ds")).toBe(vendorTraits(here, "deepseek"));
  expect(vendorTraits(here, "house")).toBeUndefined();
});
