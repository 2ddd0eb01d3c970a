import Anthropic, { APIError } from "@anthropic-ai/sdk";
import OpenAI, { AzureOpenAI } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Setting, startSetting } from "./matrix/setting.ts";
import { plainTokens, spoken, textReply } from "./matrix/speech.ts";

// What official libraries find beside the bodies: the addresses that they call, and the headers that they read.

let setting: Setting | undefined;
beforeAll(async () => {
  setting = await startSetting();
});
afterAll(() => setting?.close());

function running(): Setting {
  if (setting === undefined) throw new Error("the gateway did not start");
  return setting;
}

describe("OpenAI's library for Azure, whose deployments are the gateway's models", () => {
  const azure = () => {
    const { url, key } = running().weir;
    return new AzureOpenAI({ endpoint: url, apiKey: key, apiVersion: "2024-10-21", maxRetries: 0 });
  };

  test.each(["openai-chat", "anthropic"] as const)("chats with %s, at once and in a stream", async (vendor) => {
    running().vendors[vendor].script("azure-1", { kind: "answer", events: textReply() });
    const ask = { model: `${vendor}/azure-1`, messages: [{ role: "user" as const, content: "hi" }] };
    const answer = await azure().chat.completions.create(ask);
    expect(answer.choices[0]?.message.content).toBe(spoken);
    const { prompt_tokens: input, completion_tokens: output } = answer.usage ?? {};
    expect({ input, output }).toEqual(plainTokens);
    let text = "";
    for await (const { choices } of await azure().chat.completions.create({ ...ask, stream: true })) {
      text += choices[0]?.delta.content ?? "";
    }
    expect(text).toBe(spoken);
    expect(running().vendors[vendor].calls("azure-1")).toHaveLength(2);
  });

  test("raises on a deployment that is not there", async () => {
    const asked = azure().chat.completions.create({ model: "none", messages: [{ role: "user", content: "hi" }] });
    await expect(asked).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  });
});

describe("Anthropic's library", () => {
  const anthropic = () => {
    const { url, key } = running().weir;
    return new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  };
  const id = /^req_[0-9a-f]{32}$/;

  test.each(["anthropic", "openai-chat"] as const)("reads the request's id of answers by %s", async (vendor) => {
    running().vendors[vendor].script("id-1", { kind: "answer", events: textReply() });
    const ask = { model: `${vendor}/id-1`, max_tokens: 99, messages: [{ role: "user" as const, content: "hi" }] };
    expect((await anthropic().messages.create(ask))._request_id).toMatch(id);
    const streamed = await anthropic().messages.stream(ask).withResponse();
    expect(streamed.request_id).toMatch(id);
    await streamed.data.finalMessage();
    expect((await anthropic().messages.countTokens(ask))._request_id).toMatch(id);
  });

  test("reads it of errors, once", async () => {
    const ask = { model: "none", max_tokens: 99, messages: [{ role: "user" as const, content: "hi" }] };
    const error = await anthropic()
      .messages.create(ask)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(APIError);
    expect((error as APIError).requestID).toMatch(id);
  });
});

describe.each([
  ["OpenAI's library at the base URL of Azure's version 1", "/openai/v1"],
  ["OpenAI's library at the gateway's own base URL", "/v1"],
])("%s", (_, base) => {
  const openai = () => {
    const { url, key } = running().weir;
    // Azure's keys travel in a header of their own.
    return new OpenAI({
      baseURL: `${url}${base}`,
      apiKey: "none",
      defaultHeaders: { authorization: null, "api-key": key },
    });
  };

  test("chats, responds, comes back for the response, and finds the model", async () => {
    running().vendors["openai-chat"].script("azure-2", { kind: "answer", events: textReply() });
    const model = "openai-chat/azure-2";
    const chat = await openai().chat.completions.create({ model, messages: [{ role: "user", content: "hi" }] });
    expect(chat.choices[0]?.message.content).toBe(spoken);
    const response = await openai().responses.create({ model, input: "hi" });
    expect(response.output_text).toBe(spoken);
    expect((await openai().responses.retrieve(response.id)).output_text).toBe(spoken);
    expect((await openai().models.retrieve(model)).id).toBe(model);
  });

  test("counts the tokens of an input, and is told what cannot be counted", async () => {
    running().vendors["openai-chat"].script("azure-3", { kind: "answer", events: textReply() });
    const ask = { model: "openai-chat/azure-3", input: "a few words to count" };
    const count = await openai().responses.inputTokens.count(ask);
    expect(count.object).toBe("response.input_tokens");
    expect(count.input_tokens).toBeGreaterThan(2);
    const { id } = await openai().responses.create(ask);
    const more = await openai().responses.inputTokens.count({ ...ask, previous_response_id: id });
    expect(more.input_tokens).toBeGreaterThan(count.input_tokens * 2);
    for (const param of ["previous_response_id", "conversation"]) {
      const refused = openai().responses.inputTokens.count({ ...ask, [param]: "resp_none" });
      await expect(refused).rejects.toMatchObject({ status: 400, param });
    }
  });
});

test.each(["/openai", "/openai/v1"])(
  "OpenAI's library for Azure finds everything below the base URL %s",
  async (base) => {
    running().vendors["openai-chat"].script("azure-5", { kind: "answer", events: textReply() });
    const { url, key } = running().weir;
    const model = "openai-chat/azure-5";
    const azure = new AzureOpenAI({ baseURL: `${url}${base}`, apiKey: key, apiVersion: "preview", maxRetries: 0 });
    const chat = await azure.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }] });
    expect(chat.choices[0]?.message.content).toBe(spoken);
    expect((await azure.completions.create({ model, prompt: "hi" })).choices[0]?.text).toBe(spoken);
    expect((await azure.responses.create({ model, input: "hi" })).output_text).toBe(spoken);
    expect((await azure.models.retrieve(model)).id).toBe(model);
  },
);

test("OpenAI's library for Azure responds, and comes back for the response", async () => {
  running().vendors["openai-chat"].script("azure-4", { kind: "answer", events: textReply() });
  const { url, key } = running().weir;
  const azure = new AzureOpenAI({ endpoint: url, apiKey: key, apiVersion: "2025-04-01-preview", maxRetries: 0 });
  const { id, output_text: text } = await azure.responses.create({ model: "openai-chat/azure-4", input: "hi" });
  expect(text).toBe(spoken);
  expect((await azure.responses.retrieve(id)).output_text).toBe(spoken);
});
