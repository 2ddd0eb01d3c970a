import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { dechunk, exchangeRaw } from "./raw-client.ts";
import { createSimulator, type Script, type Simulator } from "./simulator.ts";

const folder = mkdtempSync(join(tmpdir(), "simulator-"));
const countFile = join(folder, "count.jsonl");
let simulator: Simulator;
let url: string;
let client: OpenAI;

beforeAll(async () => {
  simulator = createSimulator({ countFile, receivedMax: 10, models: ["one", "two/three"] });
  ({ url } = await simulator.listen());
  client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await simulator.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => simulator.clearScripts());

const messages = [{ role: "user" as const, content: "hello there" }];
const chat = (script: Script = {}, more: object = {}) => ({ model: "one", messages, x_sim: script, ...more });
let serial = 0;

/** One raw exchange and the record that the simulator made of it. */
async function exchange(script: Script, more: object = {}, quietMs = 300) {
  const id = `attempt-${++serial}`;
  const answer = await exchangeRaw(url, chat(script, more), { headers: { "x-client-request-id": id }, quietMs });
  await vi.waitFor(() => expect(simulator.attempt(id)).toHaveLength(1));
  const record = simulator.attempt(id)[0];
  return { text: answer.bytes.toString(), end: answer.end, bytes: answer.bytes, record };
}

test("answers an SDK, and counts what it bills", async () => {
  const reply = await client.chat.completions.create(
    { model: "one", messages },
    { headers: { "x-client-request-id": "sdk-1" } },
  );
  expect(reply.choices[0]?.message.content).toContain("2 words");
  expect(simulator.attempt("sdk-1")).toMatchObject([
    {
      end: "completed",
      status: 200,
      stream: false,
      inputTokens: reply.usage?.prompt_tokens,
      outputTokens: reply.usage?.completion_tokens,
    },
  ]);
});

test("streams to an SDK; a gap between chunks passes", async () => {
  const started = performance.now();
  const stream = await client.chat.completions.create(
    {
      model: "one",
      messages,
      stream: true,
      stream_options: { include_usage: true },
      x_sim: { tokens: 5, gapMs: 20 },
    } as OpenAI.ChatCompletionCreateParamsStreaming,
    { headers: { "x-client-request-id": "sdk-2" } },
  );
  let text = "";
  let usage: OpenAI.CompletionUsage | null | undefined;
  let chunks = 0;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage;
    chunks++;
  }
  expect(Buffer.byteLength(text)).toBe(20);
  expect(chunks).toBe(8);
  expect(usage).toMatchObject({ completion_tokens: 5 });
  expect(performance.now() - started).toBeGreaterThan(100);
  await vi.waitFor(() => expect(simulator.attempt("sdk-2")).toHaveLength(1));
  expect(simulator.attempt("sdk-2")).toMatchObject([{ end: "completed", outputTokens: 5, chunks: 9 }]);
});

test("calls tools in parallel, streamed as well", async () => {
  const tools = ["a_tool", "b_tool"].map((name) => ({
    type: "function" as const,
    function: { name, parameters: { type: "object", properties: { text: { const: "x".repeat(40) } } } },
  }));
  const request = { model: "one", messages: [{ role: "user" as const, content: "a_tool and b_tool" }], tools };
  const whole = await client.chat.completions.create(request);
  const runner = client.chat.completions.stream(request);
  const streamed = await runner.finalChatCompletion();
  expect(whole.choices[0]?.message.tool_calls).toHaveLength(2);
  expect(streamed.choices[0]?.message.tool_calls).toMatchObject(whole.choices[0]?.message.tool_calls ?? []);
  expect(streamed.choices[0]?.finish_reason).toBe("tool_calls");
});

test("lists and gets models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  expect(ids).toEqual(["one", "two/three"]);
  expect((await client.models.retrieve("two/three")).id).toBe("two/three");
  await expect(client.models.retrieve("four")).rejects.toMatchObject({ status: 404 });
});

test.each([400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529])("status %i", async (status) => {
  const { text, record } = await exchange({ status });
  expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(text).toContain('"error":{"message"');
  expect(record).toMatchObject({ end: "refused", status, inputTokens: 0, outputTokens: 0 });
});

test("Retry-After in seconds, as a date and in milliseconds", async () => {
  expect((await exchange({ status: 429, retryAfter: "7" })).text).toContain("retry-after: 7\r\n");
  const date = "Sat, 21 Nov 2026 01:00:00 GMT";
  expect((await exchange({ status: 503, retryAfter: date })).text).toContain(`retry-after: ${date}\r\n`);
  expect((await exchange({ status: 429, retryAfterMs: 250 })).text).toContain("retry-after-ms: 250\r\n");
  expect((await exchange({ status: 429 })).text).not.toContain("retry-after");
});

test("scripts: headers, the queue by model, what wins, and what is refused", async () => {
  simulator.script({ status: 500 }, { model: "two", times: 1 });
  simulator.script({ status: 503, retryAfter: "9" });
  const first = await exchangeRaw(url, { model: "one", messages }, { headers: { "x-sim-status": "502" } });
  expect(first.bytes.toString()).toMatch(/^HTTP\/1.1 502 [^]*retry-after: 9/);
  expect((await exchangeRaw(url, { model: "two", messages })).bytes.toString()).toMatch(/^HTTP\/1.1 500 /);
  expect((await exchangeRaw(url, { model: "two", messages })).bytes.toString()).toMatch(/^HTTP\/1.1 200 /);
  const byModel = { models: { two: { status: 409 } } };
  expect((await exchangeRaw(url, chat(byModel))).bytes.toString()).toMatch(/^HTTP\/1.1 200 /);
  expect((await exchangeRaw(url, chat(byModel, { model: "two" }))).bytes.toString()).toMatch(/^HTTP\/1.1 409 /);
  for (const wrong of [{ statuss: 1 }, { status: 200 }, { fault: "no" }, { sse: "crlf,x" }, { tokens: -1 }, []]) {
    expect((await exchangeRaw(url, { model: "one", messages, x_sim: wrong })).bytes.toString()).toMatch(
      /^HTTP\/1.1 400 /,
    );
  }
});

test("the control door scripts, counts and looks attempts up", async () => {
  const posted = await fetch(`${url}/sim/scripts`, {
    method: "POST",
    body: JSON.stringify({ script: { status: 418 }, model: "one" }),
  });
  expect(posted.status).toBe(200);
  expect((await exchange({})).record).toMatchObject({ status: 418 });
  const found = await (await fetch(`${url}/sim/attempts/attempt-${serial}`)).json();
  expect(found).toMatchObject({ records: [{ status: 418 }] });
  expect((await fetch(`${url}/sim/attempts/none`)).status).toBe(404);
  expect(await (await fetch(`${url}/sim/counts`)).json()).toEqual(simulator.counts());
});

test("a storm is the same for the same seed", async () => {
  const runs = [];
  for (let run = 0; run < 2; run++) {
    const stormy = createSimulator({ seed: 7, faultPercent: 60 });
    const address = await stormy.listen();
    for (let i = 0; i < 20; i++) await exchangeRaw(address.url, { model: "one", messages }, { quietMs: 200 });
    runs.push(stormy.attempts().map((record) => [record.end, record.status]));
    await stormy.close();
  }
  expect(runs[0]).toEqual(runs[1]);
  expect(new Set(runs[0]?.map(([end]) => end)).size).toBeGreaterThan(1);
});

test("faults before an answer", async () => {
  const hang = await exchange({ fault: "hang" });
  expect([hang.end, hang.text, hang.record?.clientLeft]).toEqual(["quiet", "", true]);
  expect(await exchange({ fault: "reset" })).toMatchObject({ end: "reset", text: "", record: { inputTokens: 0 } });
  expect(await exchange({ fault: "close" })).toMatchObject({ end: "fin", text: "" });
  expect((await exchange({ fault: "garbage" })).text).toMatch(/^SSH-2/);
});

test("wrong bodies with status 200", async () => {
  expect((await exchange({ fault: "html" })).text).toMatch(/^HTTP\/1.1 200[^]*text\/html[^]*<h1>/);
  expect((await exchange({ fault: "empty" })).text).toMatch(/^HTTP\/1.1 200[^]*content-length: 0\r\n[^]*\r\n\r\n$/);
  expect((await exchange({ fault: "error-body" })).text).toMatch(/^HTTP\/1.1 200[^]*{"error":{[^]*rate_limit_exceeded/);
  const broken = await exchange({ fault: "bad-json" });
  expect(() => JSON.parse(broken.text.slice(broken.text.indexOf("\r\n\r\n")))).toThrow(SyntaxError);
  const length = (text: string) => Number(/content-length: (\d+)/.exec(text)?.[1]);
  const body = (text: string) => Buffer.byteLength(text.slice(text.indexOf("\r\n\r\n") + 4));
  const long = await exchange({ fault: "length-long" });
  expect([length(long.text) - body(long.text), long.end]).toEqual([64, "fin"]);
  const short = await exchange({ fault: "length-short" });
  expect(body(short.text)).toBeGreaterThan(length(short.text));
  expect((await exchange({ contentType: "text/plain" })).text).toContain("content-type: text/plain\r\n");
});

test("faults in a stream: where it stops, how the connection ends, and what is billed", async () => {
  const stream = { stream: true };
  const count = (text: string) => text.match(/"delta":\{"content":"[^"]/g)?.length;
  const reset = await exchange({ fault: "reset-stream", after: 2, tokens: 9 }, stream);
  expect([count(reset.text), reset.end, reset.record?.outputTokens]).toEqual([2, "reset", 2]);
  const cut = await exchange({ fault: "cut-stream", tokens: 9 }, stream);
  expect([count(cut.text), cut.end, dechunk(cut.bytes).whole, cut.record?.outputTokens]).toEqual([3, "fin", false, 3]);
  const ended = await exchange({ fault: "end-stream", tokens: 9, billing: "full" }, stream);
  expect([count(ended.text), dechunk(ended.bytes).whole, ended.record?.outputTokens]).toEqual([3, true, 9]);
  const stalled = await exchange({ fault: "stall", tokens: 9 }, stream);
  expect([count(stalled.text), stalled.end, stalled.record?.clientLeft]).toEqual([3, "quiet", true]);
  expect((await exchange({ fault: "half-open", tokens: 9 }, stream)).end).toBe("quiet");
  const first = await exchange({ fault: "error-frame", after: 0, tokens: 9 }, stream);
  expect(dechunk(first.bytes).body.toString()).toMatch(/"role":"assistant"[^]*\n\ndata: \{"error":\{[^\n]*\n\n$/);
  const named = await exchange({ fault: "error-event", tokens: 9 }, stream);
  expect(dechunk(named.bytes).body.toString()).toMatch(/\n\nevent: error\ndata: \{"error":\{[^\n]*\n\n$/);
  const broken = await exchange({ fault: "bad-json", tokens: 9 }, stream);
  expect(broken.text).toContain('"choices":[{"ind\n\n');
  expect(broken.text).toContain("[DONE]");
  const long = await exchange({ fault: "long-line", tokens: 9 }, stream);
  expect(
    Math.max(
      ...dechunk(long.bytes)
        .body.toString()
        .split("\n")
        .map((line) => line.length),
    ),
  ).toBeGreaterThan(10e6);
  const silent = await exchange({ fault: "no-done", tokens: 9 }, stream);
  expect(silent.text).toContain('"finish_reason":"stop"');
  expect(silent.text).not.toContain("[DONE]");
  const early = await exchange({ fault: "cut-stream", tokens: 2, after: 5 }, stream);
  expect([count(early.text), early.end, early.record?.end]).toEqual([2, "fin", "faulted"]);
});

test("faults in a JSON body", async () => {
  const cut = await exchange({ fault: "cut-stream", after: 10 });
  expect(cut.text.slice(cut.text.indexOf("\r\n\r\n") + 4)).toBe('{"id":"cha');
  expect((await exchange({ fault: "reset-stream", after: 10 })).end).toBe("reset");
  expect((await exchange({ fault: "stall", after: 10 })).end).toBe("quiet");
});

test("oddities of framing", async () => {
  const stream = { stream: true };
  const body = async (script: Script, more: object = stream) =>
    dechunk((await exchange({ text: "ab", ...script }, more)).bytes).body.toString();
  expect(await body({ sse: "crlf" })).not.toMatch(/[^\r]\n/);
  expect(await body({ sse: "cr" })).not.toContain("\n");
  const mixed = await body({ sse: "mixed-ends", text: "abcd".repeat(9) });
  expect(mixed.split(/\r\n|\r|\n/).filter((line) => line.startsWith("data:"))).toHaveLength(12);
  expect(mixed.split(/(?:\r\n|\r(?!\n)|\n){2}/)).toHaveLength(13);
  expect(await body({ sse: "bom" })).toMatch(/^\ufeffdata: /);
  expect(await body({ sse: "comments" })).toMatch(/^: /);
  expect(await body({ sse: "no-final-blank" })).toMatch(/[^\n]\ndata: \[DONE\]\n$|\n\ndata: \[DONE\]\n$/);
  expect(await body({ sse: "no-space" })).toMatch(/^data:\{/);
  expect(await body({ sse: "two-data-lines" })).toMatch(/^data: \{"id":"[^\n]*,\ndata: "object"/);
  expect(await body({ sse: "unknown-events" })).toMatch(/^event: weather\n/);
  expect(await body({ sse: "id-null" })).toContain('{"id":null,');
  expect(await body({ sse: "no-role" })).not.toContain('"role"');
});

test("manners of usage", async () => {
  const usages = async (usage: Script["usage"], asks: boolean) => {
    const more = { stream: true, ...(asks ? { stream_options: { include_usage: true } } : {}) };
    const script: Script = usage === undefined ? { text: "ab" } : { text: "ab", usage };
    return (
      dechunk((await exchange(script, more)).bytes)
        .body.toString()
        .match(/"choices":\[[^\n]*"usage":[^\n]*/g) ?? []
    );
  };
  const counted = (list: readonly string[]) => list.filter((text) => text.includes('"usage":{'));
  expect(await usages(undefined, false)).toHaveLength(0);
  expect(await usages(undefined, true)).toHaveLength(4);
  expect(counted(await usages(undefined, true))).toHaveLength(1);
  expect(await usages("none", true)).toHaveLength(0);
  expect(counted(await usages("always", false))).toHaveLength(1);
  expect(counted(await usages("null", true))).toHaveLength(0);
  expect(counted(await usages("with-choices", true))[0]).toContain('"choices":[{');
  expect(counted(await usages("doubled", true))).toHaveLength(2);
  expect(counted(await usages("every-chunk", true))).toHaveLength(3);
});

test("slices cut characters; pauses come before the first token and between bytes", async () => {
  const sliced = await exchange({ text: "ü🌊ü", sliceBytes: 1, gapMs: 0 }, { stream: true });
  expect(dechunk(sliced.bytes).body.toString()).toContain('"content":"ü🌊"');
  expect(sliced.bytes.toString("latin1")).toContain("\r\n1\r\n\xbc\r\n");
  const started = performance.now();
  await exchange({ headMs: 60, firstTokenMs: 60, text: "a" }, { stream: true });
  expect(performance.now() - started).toBeGreaterThan(115);
});

test("a client that leaves stops work, and billing with it, unless told otherwise", async () => {
  const leave = async (script: Script) => {
    const id = `leaver-${++serial}`;
    const controller = new AbortController();
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "x-client-request-id": id },
      body: JSON.stringify(chat({ tokens: 40, gapMs: 5, ...script }, { stream: true })),
      signal: controller.signal,
    });
    await response.body?.getReader().read();
    controller.abort();
    await vi.waitFor(() => expect(simulator.attempt(id)).toHaveLength(1), { timeout: 5000 });
    return simulator.attempt(id)[0];
  };
  const stopped = await leave({});
  expect(stopped).toMatchObject({ end: "abandoned", clientLeft: true, inputTokens: 6 });
  expect(stopped?.outputTokens).toBeLessThan(20);
  expect(await leave({ billing: "full" })).toMatchObject({ end: "abandoned", outputTokens: 40 });
  expect(await leave({ stopOnAbort: false })).toMatchObject({ end: "completed", clientLeft: true, outputTokens: 40 });
});

test("a client that leaves before the head is billed to the end when work goes on", async () => {
  const id = `leaver-${++serial}`;
  const script: Script = { headMs: 150, tokens: 7, stopOnAbort: false };
  const body = chat(script);
  const answer = await exchangeRaw(url, body, { headers: { "x-client-request-id": id }, quietMs: 50 });
  expect(answer).toMatchObject({ end: "quiet" });
  await vi.waitFor(() => expect(simulator.attempt(id)).toMatchObject([{ outputTokens: 7, clientLeft: true }]));
});

test("a request that makes no sense is refused, and counted", async () => {
  const answer = await exchangeRaw(url, { model: "one" }, { headers: { "x-client-request-id": "senseless" } });
  expect(answer.bytes.toString()).toMatch(/^HTTP\/1.1 400 /);
  expect(simulator.attempt("senseless")).toMatchObject([{ status: 400, end: "refused", inputTokens: 0 }]);
});

test("billing on send bills errors and hangs too", async () => {
  expect((await exchange({ status: 500, billing: "on-send", tokens: 4 })).record).toMatchObject({ outputTokens: 4 });
  expect((await exchange({ fault: "reset", billing: "on-send", tokens: 4 })).record).toMatchObject({ inputTokens: 6 });
});

test("bodies are kept byte for byte", async () => {
  await exchangeRaw(url, { model: "one", messages, odd: "é" });
  expect(JSON.parse(simulator.received().at(-1)?.body.toString() ?? "")).toMatchObject({ odd: "é" });
  expect(simulator.received().length).toBeLessThanOrEqual(10);
});

test("the count file holds every record", async () => {
  const counted = createSimulator({ countFile: join(folder, "other.jsonl") });
  const address = await counted.listen();
  for (let i = 0; i < 5; i++) await exchangeRaw(address.url, { model: "one", messages });
  const inMemory = counted.attempts();
  await counted.close();
  const lines = readFileSync(join(folder, "other.jsonl"), "utf8").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(inMemory);
  expect(inMemory).toHaveLength(5);
});
