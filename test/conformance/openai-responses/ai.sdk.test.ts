import { createOpenAI } from "@ai-sdk/openai";
import { choiceEnd, endEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { create } from "@bufbuild/protobuf";
import { generateText, jsonSchema, type ModelMessage, streamText } from "ai";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { partsOf, textsOf } from "../matrix/served.ts";
import { type Setting, startSetting, vendorNames } from "./setting.ts";

// Vercel's AI SDK, which by default names what was answered before by the ids of its items.

let setting: Setting;
let serial = 0;

beforeAll(async () => {
  setting = await startSetting();
});
afterAll(() => setting.close());

const usage = create(UsageSchema, { inputTokens: 3, outputTokens: 4 });
const tools = {
  weather: { inputSchema: jsonSchema<object>({ type: "object", properties: { city: { type: "string" } } }) },
};

function answer(text: string): GenerateEvent[] {
  return [
    startEvent({ id: `resp_${(serial += 1)}_text`, model: "said" }),
    textEvent(0, 0, text),
    endEvent([choiceEnd(0, StopReason.END, "stop")], usage),
  ];
}

function call(): GenerateEvent[] {
  return [
    startEvent({ id: `resp_${(serial += 1)}_call`, model: "said" }),
    toolCallEvent(0, 0, { id: "call_1", name: "weather", arguments: '{"city":"Oslo"}' }),
    endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_calls")], usage),
  ];
}

/** A model that one test asks. */
function talk(vendor: (typeof vendorNames)[number]) {
  const name = vendor === "gemini" ? `gemini-3-pro-ai-${(serial += 1)}` : `m-ai-${(serial += 1)}`;
  const openai = createOpenAI({ baseURL: `${setting.weir.url}/v1`, apiKey: setting.weir.key });
  const options = { model: openai.responses(`${vendor}/${name}`), maxRetries: 0 };
  const script = (events: GenerateEvent[]) => setting.vendor(vendor).script(name, { kind: "answer", events });
  return {
    async ask(messages: ModelMessage[], events: GenerateEvent[]) {
      script(events);
      return generateText({ ...options, tools, messages });
    },
    async stream(messages: ModelMessage[], events: GenerateEvent[]) {
      script(events);
      const result = streamText({ ...options, tools, messages });
      return { text: await result.text, messages: (await result.finalStep).response.messages };
    },
    lastAsked: () => partsOf(setting.vendor(vendor).calls(name).at(-1)?.request),
    alias: `${vendor}/${name}`,
  };
}

const user = (content: string): ModelMessage => ({ role: "user", content });

describe.each(vendorNames)("answered by %s", (vendor) => {
  test("what was called and said before is there in the next turns", async () => {
    const { ask, stream, lastAsked } = talk(vendor);
    const messages: ModelMessage[] = [user("the weather?")];
    const first = await ask(messages, call());
    expect(first.toolCalls).toMatchObject([{ toolName: "weather", input: { city: "Oslo" } }]);
    const toolCallId = first.toolCalls[0]?.toolCallId ?? "";
    const output = { type: "text" as const, value: "rain" };
    messages.push(...first.finalStep.response.messages, {
      role: "tool",
      content: [{ type: "tool-result", toolCallId, toolName: "weather", output }],
    });
    const second = await stream(messages, answer("It rains."));
    expect(second.text).toBe("It rains.");
    expect(lastAsked().map(({ content }) => content.case)).toEqual(["text", "toolCall", "toolResult"]);
    messages.push(...second.messages, user("and tomorrow?"));
    const third = await ask(messages, answer("Sun."));
    expect(third.text).toBe("Sun.");
    expect(lastAsked().map(({ content }) => content.case)).toEqual(["text", "toolCall", "toolResult", "text", "text"]);
    expect(textsOf(lastAsked())).toEqual(["the weather?", "It rains.", "and tomorrow?"]);
  });
});

test("a response that refers to items can be continued, and lists what they are", async () => {
  const { ask, alias, lastAsked } = talk("anthropic");
  const first = await ask([user("one")], answer("first"));
  const openai = new OpenAI({ baseURL: `${setting.weir.url}/v1`, apiKey: setting.weir.key, maxRetries: 0 });
  const items = (await openai.responses.retrieve(first.finalStep.response.id)).output;
  const reference = { type: "item_reference" as const, id: items[0]?.id ?? "" };
  const script = (text: string) =>
    setting.vendor("anthropic").script(alias.slice("anthropic/".length), { kind: "answer", events: answer(text) });
  script("second");
  const input = [reference, { role: "user" as const, content: "two" }];
  const { input_tokens: counted } = await openai.responses.inputTokens.count({ model: alias, input });
  expect(counted).toBeGreaterThan(0);
  const second = await openai.responses.create({ model: alias, input });
  const listed = await openai.responses.inputItems.list(second.id, { order: "asc" });
  expect(listed.data).toMatchObject([
    { type: "message", role: "assistant", content: [{ text: "first" }] },
    { type: "message", role: "user" },
  ]);
  script("third");
  await openai.responses.create({ model: alias, input: "three", previous_response_id: second.id });
  expect(textsOf(lastAsked())).toEqual(["first", "two", "second", "three"]);
  const background = await openai.responses.create({ model: alias, input, background: true });
  await expect.poll(async () => (await openai.responses.retrieve(background.id)).status).toBe("completed");
  expect(textsOf(lastAsked())).toEqual(["first", "two"]);
});

test("an item that is not there is refused", async () => {
  const { alias } = talk("openai-responses");
  const openai = new OpenAI({ baseURL: `${setting.weir.url}/v1`, apiKey: setting.weir.key, maxRetries: 0 });
  const input = [
    { type: "item_reference" as const, id: "msg_of_somebody" },
    { role: "user" as const, content: "on" },
  ];
  await expect(openai.responses.create({ model: alias, input })).rejects.toMatchObject({ status: 403 });
});
