import type OpenAI from "openai";
import { expect, test } from "vitest";
import { ask, askDirectly, chat, errorOf, events, exactRow, rowsOf, sdk } from "./client.ts";
import { canaries } from "./setting.ts";
import type { Weir } from "./weir.ts";

/** Requests that go well: what the client gets, what the provider gets, what the ledger gets. */
export function chatCases(weir: () => Weir): void {
  const messages = [{ role: "user" as const, content: "hello there" }];

  test("a completion, by the SDK", async () => {
    const { data, request_id, response } = await sdk(weir())
      .chat.completions.create(chat({}, { user: "user-7" }) as OpenAI.ChatCompletionCreateParamsNonStreaming)
      .withResponse();
    expect(data.choices[0]?.message.content).toContain("2 words");
    expect(data.model).toBe("sim-chat");
    expect(response.headers.get("x-request-id")).toBe(request_id);
    const row = await exactRow(weir(), request_id ?? "");
    expect(row).toMatchObject({
      alias: "chat",
      provider: "sim",
      outcome: "completed",
      stream: false,
      endUser: "user-7",
    });
    expect(row.inputTokens).toBe(data.usage?.prompt_tokens);
    expect(row.outputTokens).toBe(data.usage?.completion_tokens);
  });

  test("a stream, by the SDK: the same text as without, and a row that is exact", async () => {
    const client = sdk(weir());
    const whole = await client.chat.completions.create({ model: "chat", messages });
    const { data: stream, request_id } = await client.chat.completions
      .create({ model: "chat", messages, stream: true })
      .withResponse();
    let text = "";
    const finishes: unknown[] = [];
    for await (const chunk of stream) {
      // Clients index the first choice, so a chunk without one may only come when it was asked for.
      expect(chunk.choices).toHaveLength(1);
      expect(chunk.usage ?? null).toBeNull();
      text += chunk.choices[0]?.delta.content ?? "";
      if (chunk.choices[0]?.finish_reason) finishes.push(chunk.choices[0].finish_reason);
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(finishes).toEqual(["stop"]);
    expect(await exactRow(weir(), request_id ?? "")).toMatchObject({ stream: true, outcome: "completed" });
  });

  test("chunks arrive as the provider sends them, not at the end", async () => {
    const stream = await sdk(weir()).chat.completions.create({
      ...chat({ tokens: 6, gapMs: 60 }),
      stream: true,
    } as OpenAI.ChatCompletionCreateParamsStreaming);
    const arrivals: number[] = [];
    for await (const _ of stream) arrivals.push(performance.now());
    const gaps = arrivals.slice(1).map((at, index) => at - (arrivals[index] as number));
    expect(gaps.filter((gap) => gap > 30).length).toBeGreaterThanOrEqual(5);
  });

  test("tools pass through, streamed and in parallel", async () => {
    const tools = ["get_weather", "get_time"].map((name) => ({
      type: "function" as const,
      function: {
        name,
        parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } },
      },
    }));
    const request = {
      model: "chat",
      messages: [{ role: "user" as const, content: "get_weather and get_time" }],
      tools,
    };
    const { data: whole, request_id } = await sdk(weir()).chat.completions.create(request).withResponse();
    expect(whole.choices[0]?.message.tool_calls).toMatchObject([
      { function: { name: "get_weather", arguments: '{"city":"weir","days":1}' } },
      { function: { name: "get_time" } },
    ]);
    await exactRow(weir(), request_id ?? "");
    const streamed = await sdk(weir()).chat.completions.stream(request).finalChatCompletion();
    expect(streamed.choices[0]?.message.tool_calls).toMatchObject(whole.choices[0]?.message.tool_calls ?? []);
    expect(streamed.choices[0]?.finish_reason).toBe("tool_calls");
  });

  test("structured output passes through", async () => {
    const schema = { type: "object", properties: { answer: { type: "integer" }, note: { type: "string" } } };
    const reply = await sdk(weir()).chat.completions.create({
      model: "chat",
      messages,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema, strict: true } },
    });
    expect(JSON.parse(reply.choices[0]?.message.content ?? "")).toEqual({ answer: 1, note: "weir" });
  });

  test("several choices and logprobs pass through, and all choices are billed", async () => {
    const { data, request_id } = await sdk(weir())
      .chat.completions.create({ model: "chat", messages, n: 3, logprobs: true, max_completion_tokens: 5 })
      .withResponse();
    expect(data.choices).toHaveLength(3);
    expect(data.choices[2]).toMatchObject({ finish_reason: "length", index: 2 });
    expect(data.choices[0]?.logprobs?.content).toHaveLength(5);
    expect((await exactRow(weir(), request_id ?? "")).outputTokens).toBe(15);
  });

  test("cached and reasoning tokens are kept apart and priced", async () => {
    const answer = await ask(weir(), chat({ cachedTokens: 3, reasoningTokens: 40, tokens: 7 }));
    expect(await exactRow(weir(), answer.requestId)).toMatchObject({
      cachedInputTokens: 3,
      reasoningTokens: 40,
      outputTokens: 47,
    });
  });

  const oddBody =
    '{ "stream":false,"zzz_new_field" : {"a":[1.0e2 , 12345678901234567890,"\\u00e9\\ud83c\\udf0a é"], "model":"inner"},\n' +
    '\t"messages":[{"role":"user","content":"tab\\there","name":"x","cache_control":{"type":"ephemeral"}}],' +
    '"model"  :  "chat" , "metadata":{"model":"not this one"},"seed":-0 }';

  test("the provider gets the client's bytes, but for the model's name", async () => {
    const answer = await ask(weir(), oddBody);
    expect(answer.status).toBe(200);
    const [row] = await rowsOf(weir(), answer.requestId);
    const received = weir()
      .simulator.received()
      .find((request) => request.id === row?.attemptId);
    expect(received?.body.toString()).toBe(oddBody.replace('"model"  :  "chat"', '"model"  :  "sim-chat"'));
    expect(received?.headers["authorization"]).toBe(`Bearer ${canaries.providerKey}`);
    expect(received?.headers["content-type"]).toMatch(/^application\/json/);
  });

  test("a stream's request differs by the model's name and stream_options only", async () => {
    const streaming = oddBody.replace('"stream":false', '"stream":true');
    const answer = await ask(weir(), streaming);
    const [row] = await rowsOf(weir(), answer.requestId);
    const received =
      weir()
        .simulator.received()
        .find((request) => request.id === row?.attemptId)
        ?.body.toString() ?? "";
    expect(JSON.parse(received)).toEqual({
      ...(JSON.parse(streaming) as object),
      model: "sim-chat",
      stream_options: { include_usage: true },
    });
    const rest = streaming.slice(streaming.indexOf('"zzz_new_field"'), streaming.indexOf('"model"  :'));
    expect(received).toContain(rest);
  });

  test("the answer's bytes are the provider's, unknown fields and formatting included", async () => {
    const body = chat({ text: "ünïcode \u0007 \ud83c\udf0a </script>" });
    const direct = await askDirectly(weir(), { ...body, model: "sim-chat" });
    const answer = await ask(weir(), body);
    expect(unstamped(answer.text)).toBe(unstamped(direct));
    expect(answer.text).toContain('"system_fingerprint":"fp_sim"');
    expect(answer.headers.get("content-type")).toMatch(/^application\/json/);
  });

  test("a stream's events are the provider's, byte for byte in their data", async () => {
    const body = { ...chat({ tokens: 20 }), stream: true };
    const options = { stream_options: { include_usage: true } };
    const direct = await askDirectly(weir(), { ...body, ...options, model: "sim-chat" });
    const answer = await ask(weir(), { ...body, ...options });
    expect(events(unstamped(answer.text))).toEqual(events(unstamped(direct)));
    expect(answer.headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(answer.headers.get("cache-control")).toContain("no-cache");
    expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test.each<[string, string, "shown" | "hidden" | "refused"]>([
    ["absent", "", "hidden"],
    ["null", '"stream_options":null,', "hidden"],
    ["empty", '"stream_options":{},', "hidden"],
    ["false", '"stream_options":{"include_usage":false},', "hidden"],
    ["true", '"stream_options":{"include_usage":true},', "shown"],
    [
      "true, beside a new option",
      '"stream_options" : {"include_obfuscation":false, "include_usage" : true },',
      "shown",
    ],
    [
      "false, beside a new option",
      '"stream_options" : {"include_usage" : false,"include_obfuscation":false },',
      "hidden",
    ],
    ["doubled", '"stream_options":{"include_usage":true},"stream_options":{"include_usage":false},', "refused"],
    ["text", '"stream_options":"yes",', "refused"],
    ["a list", '"stream_options":[true],', "refused"],
  ])("stream_options %s", async (_name, member, expected) => {
    const body = `{${member}"stream":true,"model":"chat","messages":[{"role":"user","content":"hello there"}]}`;
    const answer = await ask(weir(), body);
    if (expected === "refused") {
      expect(answer.status).toBe(400);
      expect(errorOf(answer).type).toBe("invalid_request_error");
      return;
    }
    const chunks = events(answer.text)
      .filter((data) => data !== "[DONE]")
      .map((data) => JSON.parse(data) as { choices: unknown[]; usage?: { completion_tokens: number } | null });
    const row = await exactRow(weir(), answer.requestId);
    const last = chunks.at(-1);
    const withUsage = chunks.filter((chunk) => chunk.usage);
    if (expected === "shown") {
      expect(withUsage).toEqual([last]);
      expect(last).toMatchObject({ choices: [], usage: { completion_tokens: row.outputTokens } });
    } else {
      expect(withUsage).toEqual([]);
      expect(chunks.every((chunk) => chunk.choices.length > 0)).toBe(true);
    }
  });

  test.each([
    ["any/sim-else", "any/*", "sim-else"],
    ["org/with/slashes", "org/with/slashes", "sim-chat"],
  ])("alias %s", async (model, alias, served) => {
    const answer = await ask(weir(), { ...chat(), model });
    expect(answer.json).toMatchObject({ model: served });
    const row = await exactRow(weir(), answer.requestId);
    expect([row.model, [alias, model]]).toEqual([served, expect.arrayContaining([row.alias])]);
  });

  test("a long answer and a long prompt", async () => {
    const content = "word ".repeat(100_000);
    const answer = await ask(weir(), {
      ...chat({ tokens: 100_000 }),
      stream: true,
      messages: [{ role: "user", content }],
    });
    expect(answer.broken).toBeUndefined();
    expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
    expect(await exactRow(weir(), answer.requestId)).toMatchObject({ inputTokens: 125_003, outputTokens: 100_000 });
  });
}

/** Without what differs from one answer of the simulator to the next. */
function unstamped(text: string): string {
  return text.replaceAll(/"id":"chatcmpl-sim\d+"/g, '"id":"ID"').replaceAll(/"created":\d+/g, '"created":0');
}
