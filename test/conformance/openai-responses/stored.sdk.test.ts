import { create } from "@bufbuild/protobuf";
import { choiceEnd, endEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import OpenAI, { type APIError, BadRequestError, NotFoundError } from "openai";
import type { Response, ResponseCreateParamsNonStreaming } from "openai/resources/responses/responses";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { textsOf, partsOf } from "../matrix/served.ts";
import type { Script } from "../vendors/script.ts";
import { type Setting, startSetting, storedBytesMax, vendorNames } from "./setting.ts";

// Responses as clients come back for them, by the vendor's own library, whatever answers behind Weir.

let setting: Setting;
let openai: OpenAI;
let serial = 0;

beforeAll(async () => {
  setting = await startSetting();
  openai = new OpenAI({ baseURL: `${setting.weir.url}/v1`, apiKey: setting.weir.key, maxRetries: 0 });
});
afterAll(() => setting.close());

const usage = create(UsageSchema, { inputTokens: 3, outputTokens: 4 });
const stopped = endEvent([choiceEnd(0, StopReason.END, "stop")], usage);

function say(...pieces: string[]): GenerateEvent[] {
  serial += 1;
  return [
    startEvent({ id: `resp_${serial}_vendor`, model: "said" }),
    ...pieces.map((piece) => textEvent(0, 0, piece)),
    stopped,
  ];
}

type VendorName = (typeof vendorNames)[number];

/** A model of its own for one test, and what it is asked. */
function model(vendor: VendorName, ...scripts: [Script, ...Script[]]) {
  serial += 1;
  const name = vendor === "gemini" ? `gemini-3-pro-${serial}` : `m-${serial}`;
  let next = 0;
  const script = () => {
    setting.vendor(vendor).script(name, scripts[Math.min(next, scripts.length - 1)] as Script);
    next += 1;
  };
  return {
    alias: `${vendor}/${name}`,
    /** The next call gets the next script. */
    async create(params: Omit<ResponseCreateParamsNonStreaming, "model">): Promise<Response> {
      script();
      return openai.responses.create({ model: `${vendor}/${name}`, ...params });
    },
    async stream(params: Omit<ResponseCreateParamsNonStreaming, "model" | "stream">) {
      script();
      return openai.responses.create({ model: `${vendor}/${name}`, ...params, stream: true });
    },
    calls: () => setting.vendor(vendor).calls(name),
  };
}

const answerOf = (...pieces: string[]): Script => ({ kind: "answer", events: say(...pieces) });

async function idsOf(id: string, query: object = {}) {
  const items: unknown[] = [];
  for await (const item of openai.responses.inputItems.list(id, query)) items.push(item);
  return items;
}

describe.each(vendorNames)("answered by %s", (vendor) => {
  test("a response is retrieved as it was created, listed, and gone when it is deleted", async () => {
    const { create: ask } = model(vendor, answerOf("Grüße ", "👋"));
    const response = await ask({ input: "hello", metadata: { team: "a" }, instructions: "be brief" });
    expect(response).toMatchObject({ status: "completed", output_text: "Grüße 👋", object: "response" });
    expect(await openai.responses.retrieve(response.id)).toEqual(response);
    const list = await openai.responses.inputItems.list(response.id);
    expect(list.data).toMatchObject([
      { type: "message", role: "user", content: [{ type: "input_text", text: "hello" }] },
    ]);
    expect(list.has_more).toBe(false);
    await openai.responses.delete(response.id);
    await expect(openai.responses.retrieve(response.id)).rejects.toBeInstanceOf(NotFoundError);
    await expect(openai.responses.delete(response.id)).rejects.toBeInstanceOf(NotFoundError);
    await expect(openai.responses.inputItems.list(response.id)).rejects.toBeInstanceOf(NotFoundError);
  });

  test("a stream is stored by the time its last event is there", async () => {
    const { stream } = model(vendor, answerOf("one ", "two"));
    let last: Response | undefined;
    let seen = "";
    for await (const event of await stream({ input: "hello" })) {
      if (event.type === "response.output_text.delta") seen += event.delta;
      if (event.type === "response.completed") {
        last = event.response;
        const { output_text: _, ...stored } = await openai.responses.retrieve(last.id);
        expect(stored).toEqual(event.response);
      }
    }
    expect(seen).toBe("one two");
    expect(last?.status).toBe("completed");
  });

  test.each(["whole", "stream"])("a conversation goes on from a response: %s", async (form) => {
    const spoken = model(vendor, answerOf("first answer"), answerOf("second answer"), answerOf("third answer"));
    const first = await spoken.create({ input: "first question", instructions: "only for the first turn" });
    let second: Response;
    const params = { input: [{ role: "user" as const, content: "second question" }], previous_response_id: first.id };
    if (form === "whole") second = await spoken.create(params);
    else {
      const responses: Response[] = [];
      for await (const event of await spoken.stream(params)) if ("response" in event) responses.push(event.response);
      expect(responses.map((each) => each.previous_response_id)).toEqual([first.id, first.id, first.id]);
      second = responses.at(-1) as Response;
    }
    expect(second.previous_response_id).toBe(first.id);
    const third = await spoken.create({ input: "third question", previous_response_id: second.id });
    expect(third.output_text).toBe("third answer");
    const [, call, lastCall] = spoken.calls();
    expect(call?.body).not.toContain(first.id);
    expect(call?.body).not.toContain("only for the first turn");
    expect(textsOf(partsOf(call?.request))).toEqual(["first question", "first answer", "second question"]);
    expect(textsOf(partsOf(lastCall?.request))).toEqual([
      "first question",
      "first answer",
      "second question",
      "second answer",
      "third question",
    ]);
    expect((await openai.responses.retrieve(third.id)).previous_response_id).toBe(second.id);
  });

  test("a call of a tool is answered by way of a stored response", async () => {
    const calls: GenerateEvent[] = [
      startEvent({ id: `resp_${(serial += 1)}_call`, model: "said" }),
      toolCallEvent(0, 0, { id: "call_1", name: "weather", arguments: '{"city":"Oslo"}' }),
      endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_calls")], usage),
    ];
    const spoken = model(vendor, { kind: "answer", events: calls }, answerOf("It rains."));
    const tools = [
      { type: "function" as const, name: "weather", strict: false, parameters: { type: "object", properties: {} } },
    ];
    const first = await spoken.create({ input: "the weather?", tools });
    const call = first.output.find((item) => item.type === "function_call");
    expect(call).toMatchObject({ name: "weather", arguments: '{"city":"Oslo"}' });
    const second = await spoken.create({
      input: [{ type: "function_call_output", call_id: call?.call_id ?? "", output: "rain" }],
      previous_response_id: first.id,
      tools,
    });
    expect(second.output_text).toBe("It rains.");
    const kinds = partsOf(spoken.calls()[1]?.request).map(({ content }) => content.case);
    expect(kinds).toEqual(["text", "toolCall", "toolResult"]);
  });

  test("a response in the background is made while nobody waits", async () => {
    const spoken = model(vendor, answerOf("made ", "alone"), answerOf("and on"));
    const queued = await spoken.create({ input: "go", background: true, metadata: { team: "b" } });
    expect(queued).toMatchObject({
      object: "response",
      status: "queued",
      background: true,
      output: [],
      metadata: { team: "b" },
      model: spoken.alias,
    });
    const done = await vi.waitUntil(
      async () => {
        const now = await openai.responses.retrieve(queued.id);
        return now.status === "in_progress" || now.status === "queued" ? undefined : now;
      },
      { timeout: 5_000, interval: 20 },
    );
    expect(done).toMatchObject({
      id: queued.id,
      created_at: queued.created_at,
      status: "completed",
      background: true,
      output_text: "made alone",
      usage: { input_tokens: 3, output_tokens: 4 },
    });
    expect(JSON.parse(spoken.calls()[0]?.body ?? "{}")).not.toMatchObject({ background: true });
    expect(await idsOf(queued.id)).toMatchObject([{ role: "user" }]);
    const next = await spoken.create({ input: "go on", previous_response_id: queued.id });
    expect(next.output_text).toBe("and on");
    expect(textsOf(partsOf(spoken.calls()[1]?.request))).toEqual(["go", "made alone", "go on"]);
    // Once it has ended there is nothing to cancel.
    expect(await openai.responses.cancel(queued.id)).toMatchObject({ id: queued.id, status: "completed" });
  });
});

const silent: Script = { kind: "broken", events: [], how: "silence" };

test("a response in the background is cancelled, and its provider's call ends", async () => {
  const { create: ask, calls } = model("openai-chat", silent);
  const queued = await ask({ input: "go", background: true });
  expect((await openai.responses.retrieve(queued.id)).status).toBe("in_progress");
  await vi.waitFor(() => expect(calls()).toHaveLength(1));
  const cancelled = await openai.responses.cancel(queued.id);
  expect(cancelled).toMatchObject({ id: queued.id, status: "cancelled", background: true });
  const start = performance.now();
  await calls()[0]?.hungUp;
  expect(performance.now() - start).toBeLessThan(3_000);
  expect(await openai.responses.retrieve(queued.id)).toMatchObject({ status: "cancelled" });
  expect(await openai.responses.cancel(queued.id)).toMatchObject({ status: "cancelled" });
});

test("deleting a response in the background ends its provider's call", async () => {
  const { create: ask, calls } = model("openai-chat", silent);
  const queued = await ask({ input: "go", background: true });
  await vi.waitFor(() => expect(calls()).toHaveLength(1));
  await openai.responses.delete(queued.id);
  await calls()[0]?.hungUp;
  await expect(openai.responses.retrieve(queued.id)).rejects.toBeInstanceOf(NotFoundError);
});

test("a response in the background fails as its provider does", async () => {
  const { create: ask } = model("anthropic", { kind: "refusal", status: 500, headers: {} });
  const queued = await ask({ input: "go", background: true });
  await vi.waitFor(async () => {
    expect(await openai.responses.retrieve(queued.id)).toMatchObject({
      id: queued.id,
      status: "failed",
      error: { code: "server_error", message: expect.stringMatching(/./) as string },
      output: [],
    });
  });
  await expect(ask({ input: "on", previous_response_id: queued.id })).rejects.toMatchObject({
    status: 400,
    code: "previous_response_not_found",
  });
});

test("more in the background than a key may have is refused, until there is room", async () => {
  const { create: ask } = model("openai-chat", silent);
  // Half of the places of the edge.
  const queued = await Promise.all([1, 2].map(() => ask({ input: "go", background: true })));
  await expect(ask({ input: "go", background: true })).rejects.toMatchObject({
    status: 429,
    code: "rate_limit_exceeded",
  });
  for (const { id } of queued) await openai.responses.cancel(id);
  await vi.waitFor(async () => openai.responses.cancel((await ask({ input: "go", background: true })).id), {
    timeout: 5_000,
    interval: 100,
  });
});

test("what is asked for together and cannot be is refused", async () => {
  const { create: ask, stream } = model("openai-chat", answerOf("never"));
  const refused = (param: string) => expect.objectContaining({ status: 400, param }) as APIError;
  await expect(ask({ input: "x", background: true, store: false })).rejects.toEqual(refused("background"));
  await expect(stream({ input: "x", background: true })).rejects.toEqual(refused("background"));
  await expect(ask({ input: "x", previous_response_id: "resp_1", conversation: "conv_1" })).rejects.toEqual(
    refused("previous_response_id"),
  );
});

test("what is not to be stored is not", async () => {
  const spoken = model("openai-responses", answerOf("a"), answerOf("never"), answerOf("b"), answerOf("c"));
  const response = await spoken.create({ input: "hi", store: false });
  await expect(openai.responses.retrieve(response.id)).rejects.toBeInstanceOf(NotFoundError);
  await expect(spoken.create({ input: "on", previous_response_id: response.id })).rejects.toMatchObject({
    status: 400,
    code: "previous_response_not_found",
    param: "previous_response_id",
    type: "invalid_request_error",
  });
  expect(spoken.calls()).toHaveLength(1);
  const kept = await spoken.create({ input: "hi" });
  const on = await spoken.create({ input: "on", previous_response_id: kept.id, store: false });
  expect(on.previous_response_id).toBe(kept.id);
  await expect(openai.responses.retrieve(on.id)).rejects.toBeInstanceOf(NotFoundError);
});

test("a provider of the dialect gets a first turn as bytes, and its answer is stored as bytes", async () => {
  const { alias } = model("openai-responses", answerOf("x"));
  const name = alias.slice("openai-responses/".length);
  setting.vendor("openai-responses").script(name, answerOf("as bytes"));
  const body = `{ "model":"${alias}",  "input": "hi", "n_extra": 1.50 }`;
  const headers = { authorization: `Bearer ${setting.weir.key}`, "content-type": "application/json" };
  const answer = await fetch(`${setting.weir.url}/v1/responses`, { method: "POST", headers, body });
  expect(answer.headers.get("x-weir-warnings")).toBeNull();
  const text = await answer.text();
  const [call] = setting.vendor("openai-responses").calls(name);
  expect(call?.body).toBe(body.replace(alias, name));
  expect(text).toBe(call?.sent());
  const { id } = JSON.parse(text) as { id: string };
  expect(await (await fetch(`${setting.weir.url}/v1/responses/${id}`, { headers })).text()).toBe(text);
});

test("items are listed page by page, in either order, with what came before", async () => {
  const spoken = model("openai-responses", answerOf("a0"), answerOf("a1"));
  const input = Array.from({ length: 7 }, (_, index) => ({ role: "user" as const, content: `q${index}` }));
  const first = await spoken.create({ input });
  const second = await spoken.create({ input: "q7", previous_response_id: first.id });
  const said = (items: unknown[]) =>
    (items as { content: { text: string }[] }[]).map(({ content }) => content.map(({ text }) => text).join(""));
  const expected = [...input.map(({ content }) => content), "a0", "q7"];
  expect(said(await idsOf(second.id, { order: "asc", limit: 2 }))).toEqual(expected);
  expect(said(await idsOf(second.id, { limit: 4 }))).toEqual(expected.toReversed());
  const page = await openai.responses.inputItems.list(second.id, { order: "asc", limit: 3 });
  expect(page.has_more).toBe(true);
  const raw = page as unknown as { object: string; body: { first_id: string; last_id: string; object: string } };
  expect(raw.body).toMatchObject({ object: "list", first_id: page.data[0]?.id, last_id: page.data[2]?.id });
  const after = await openai.responses.inputItems.list(second.id, {
    order: "asc",
    after: page.data[2]?.id ?? "",
    include: ["message.input_image.image_url", "reasoning.encrypted_content"],
  });
  expect(said(after.data)).toEqual(expected.slice(3));
  const wrong = [
    { limit: 0 },
    { limit: 101 },
    { limit: 1.5 },
    { limit: "0x10" },
    { order: "up" },
    { after: "msg_none" },
    { include: ["everything"] },
  ];
  for (const query of wrong) {
    await expect(openai.responses.inputItems.list(second.id, query as object)).rejects.toBeInstanceOf(BadRequestError);
  }
});

test("a conversation of which a turn was deleted is listed as far as it is there, and cannot go on", async () => {
  const spoken = model("openai-chat", answerOf("a0"), answerOf("a1"), answerOf("never"));
  const first = await spoken.create({ input: "q0" });
  const second = await spoken.create({ input: "q1", previous_response_id: first.id });
  await openai.responses.delete(first.id);
  expect(await idsOf(second.id)).toMatchObject([{ content: [{ text: "q1" }] }]);
  expect(await openai.responses.retrieve(second.id)).toEqual(second);
  await expect(spoken.create({ input: "q2", previous_response_id: second.id })).rejects.toMatchObject({
    status: 400,
    code: "previous_response_not_found",
  });
  expect(spoken.calls()).toHaveLength(2);
});

test("a response that is not there reads the same, whatever is asked and whosever it is", async () => {
  const { create: ask } = model("openai-chat", answerOf("mine"));
  const { id } = await ask({ input: "hi" });
  for (const missing of ["resp_never", `${id}x`, "no id at all"]) {
    const calls = [
      () => openai.responses.retrieve(missing),
      () => openai.responses.delete(missing),
      () => openai.responses.cancel(missing),
      () => openai.responses.inputItems.list(missing),
    ];
    for (const call of calls) {
      const failure = await call().catch((thrown: unknown) => thrown);
      expect(failure).toBeInstanceOf(NotFoundError);
      expect(failure).toMatchObject({ type: "invalid_request_error", param: null });
    }
  }
  await expect(openai.responses.cancel(id)).rejects.toBeInstanceOf(BadRequestError);
  await expect(openai.responses.retrieve(id, { stream: true })).rejects.toBeInstanceOf(BadRequestError);
});

test("a stream that breaks off is stored as failed, with the items that were whole", async () => {
  const events = say("one", "two").slice(0, -1);
  const spoken = model("openai-responses", { kind: "broken", events, how: "cut" });
  let id = "";
  const drain = async () => {
    for await (const event of await spoken.stream({ input: "hi" })) {
      if (event.type === "response.created") id = event.response.id;
    }
  };
  await expect(drain()).rejects.toBeInstanceOf(Error);
  expect(await openai.responses.retrieve(id)).toMatchObject({ status: "failed", error: { code: "server_error" } });
});

test("a stream that its client leaves is stored as cancelled", async () => {
  const events = say("one", "two").slice(0, -1);
  const spoken = model("openai-chat", { kind: "broken", events, how: "silence" });
  let id = "";
  for await (const event of await spoken.stream({ input: "hi" })) {
    if (event.type === "response.created") id = event.response.id;
    if (event.type === "response.output_text.delta") break;
  }
  await spoken.calls()[0]?.hungUp;
  await vi.waitFor(async () => expect((await openai.responses.retrieve(id)).status).toBe("cancelled"));
});

test.each([false, true])("what is larger than may be stored is answered, and says so; stream: %s", async (stream) => {
  const { alias } = model("openai-responses", answerOf("x"));
  const name = alias.slice("openai-responses/".length);
  const long = "x".repeat(storedBytesMax);
  setting.vendor("openai-responses").script(name, answerOf(long));
  const headers = { authorization: `Bearer ${setting.weir.key}`, "content-type": "application/json" };
  const body = JSON.stringify({ model: alias, input: "hi", stream });
  const answer = await fetch(`${setting.weir.url}/v1/responses`, { method: "POST", headers, body });
  const text = await answer.text();
  expect(text).toContain(long);
  if (stream) expect(text).toContain(": weir-warnings not_stored\n");
  else expect(answer.headers.get("x-weir-warnings")).toBe("not_stored");
  const id = /"id":"(resp_[^"]+)"/.exec(text)?.[1] ?? "";
  await expect(openai.responses.retrieve(id)).rejects.toBeInstanceOf(NotFoundError);
});
