import fc from "fast-check";
import { expect, test } from "vitest";
import { readUsage } from "../openai/usage.ts";
import { readChunk } from "./chunk.ts";
import { type ChatStreamOptions, createChatStreamReader } from "./stream.ts";

const done = "data: [DONE]\n\n";

/** Feeds pieces and returns what the client gets and what is known at the end. */
function feed(pieces: readonly Buffer[], options: ChatStreamOptions) {
  const reader = createChatStreamReader(options);
  const out: Buffer[] = [];
  for (const piece of pieces) {
    const forward = reader.push(piece);
    if (forward !== undefined) out.push(forward);
  }
  const last = reader.end();
  if (last !== undefined) out.push(last);
  return {
    forwarded: Buffer.concat(out).toString(),
    facts: { ...reader.facts, contentEvents: reader.contentEvents(), outputTokens: reader.outputTokens() },
  };
}

function run(text: string, options: Partial<ChatStreamOptions> = {}) {
  return feed([Buffer.from(text)], { includeUsage: false, ...options });
}

/** Cuts at offsets, in order of place. */
function cut(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const sorted = offsets.map((offset) => offset % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...sorted].map((offset, index) => bytes.subarray(offset, sorted[index] ?? bytes.length));
}

function chunk(delta: object, rest: object = {}): string {
  const { finish_reason = null, index = 0, ...more } = rest as Record<string, unknown>;
  return JSON.stringify({ id: "chatcmpl-1", choices: [{ index, delta, finish_reason }], usage: null, ...more });
}

const role = chunk({ role: "assistant", content: "" });
const hello = chunk({ content: "Hello" });
const stop = chunk({}, { finish_reason: "stop" });
const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
const usageOnly = JSON.stringify({ id: "chatcmpl-1", choices: [], usage });

const sse = (...events: string[]) => events.map((event) => `data: ${event}\n\n`).join("");

test("the usual stream", () => {
  const text = sse(role, hello, hello, stop, usageOnly, "[DONE]");
  const shown = run(text, { includeUsage: true });
  expect(shown.forwarded).toBe(text);
  expect(shown.facts).toMatchObject({ content: true, complete: true, replyId: "chatcmpl-1", outputTokens: 2 });
  expect(shown.facts.usage?.usage).toMatchObject({ inputTokens: 9, outputTokens: 3 });
  const hidden = run(text);
  expect(hidden.forwarded).toBe(sse(role, hello, hello, stop, "[DONE]"));
  expect(hidden.facts).toEqual(shown.facts);
});

test.each<[string, string, boolean]>([
  ["nothing", "", false],
  ["a comment", ": ping\n\n", false],
  ["a ping", 'event: ping\ndata: {"type":"ping"}\n\n', false],
  ["empty data", "data:\n\n", false],
  ["a role", sse(role), false],
  ["empty choices", sse('{"choices":[],"prompt_filter_results":[{}]}'), false],
  ["an empty text", sse(chunk({ content: "" })), false],
  ["null", sse(chunk({ content: null, tool_calls: null })), false],
  ["usage alone", sse(usageOnly), false],
  ["text", sse(hello), true],
  ["reasoning_content", sse(chunk({ reasoning_content: "hm" })), true],
  ["reasoning", sse(chunk({ reasoning: "hm" })), true],
  ["a refusal", sse(chunk({ refusal: "no" })), true],
  ["sound", sse(chunk({ audio: { data: "AAAA" } })), true],
  ["a tool call", sse(chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "" } }] })), true],
  ["an end", sse(stop), true],
])("content: %s", (_, text, content) => {
  expect(run(text).facts.content).toBe(content);
});

test.each<[string, string]>([
  ["its own event", sse(hello, stop, usageOnly, "[DONE]")],
  ["with choices", sse(hello, chunk({}, { finish_reason: "stop", usage }), "[DONE]")],
  [
    "twice, the last stands",
    sse(hello, chunk({ content: "x" }, { usage: { ...usage, prompt_tokens: 1 } }), stop, usageOnly, "[DONE]"),
  ],
  [
    "with white space",
    sse(hello, stop, `{"choices": [], "usage" : ${JSON.stringify(usage, null, 1).replaceAll("\n", " ")}}`, "[DONE]"),
  ],
  ["without choices", sse(hello, stop, JSON.stringify({ usage }), "[DONE]")],
  ["after CRLF", sse(hello, stop, usageOnly, "[DONE]").replaceAll("\n", "\r\n")],
])("usage: %s", (_, text) => {
  const { facts } = run(text);
  expect(facts.usage?.usage).toMatchObject({ inputTokens: 9, outputTokens: 3 });
  expect(facts.complete).toBe(true);
});

test("an extra chunk that has nothing to report is taken out as well, and one before content is not", () => {
  const bare = '{"choices":[],"prompt_filter_results":[{}],"usage":null}';
  expect(run(sse(bare, hello, stop, '{"choices":[],"usage":null}', "[DONE]")).forwarded).toBe(
    sse(bare, hello, stop, "[DONE]"),
  );
});

test("a chunk with choices and usage is never taken out", () => {
  const text = sse(hello, chunk({}, { finish_reason: "stop", usage }), "[DONE]");
  expect(run(text).forwarded).toBe(text);
});

test.each<[string, string, boolean]>([
  ["[DONE]", sse(hello, "[DONE]"), true],
  ["[DONE] without a blank line", `${sse(hello, stop)}data: [DONE]`, true],
  ["[DONE] without a space", sse(hello).concat("data:[DONE]\n\n"), true],
  ["[DONE] with CRLF", sse(hello).concat("data: [DONE]\r\n\r\n"), true],
  ["the end of its one choice", sse(hello, stop), true],
  ["the end of its one choice, without a blank line", sse(hello, stop).slice(0, -2), true],
  [
    "the ends of two choices",
    sse(hello, chunk({ content: "x" }, { index: 1 }), stop, chunk({}, { index: 1, finish_reason: "length" })),
    true,
  ],
  ["text", sse(hello, hello), false],
  ["one of two choices", sse(hello, chunk({ content: "x" }, { index: 1 }), stop), false],
  [
    "the other of two choices",
    sse(chunk({ content: "x" }, { index: 1 }), hello, chunk({}, { index: 1, finish_reason: "stop" })),
    false,
  ],
  ["a cut event", `${sse(hello, stop)}data: {"cho`, false],
  ["a cut [DONE]", `${sse(hello, stop)}data: [DO`, false],
  ["nothing", "", false],
])("a stream that ends after %s", (_, text, complete) => {
  const { facts, forwarded } = run(text);
  expect(facts.complete).toBe(complete);
  expect(forwarded.endsWith(done)).toBe(complete);
  expect(forwarded.split("[DONE]").length - 1).toBe(complete ? 1 : 0);
  if (!complete && forwarded !== "") expect(forwarded.endsWith("\n\n")).toBe(true);
});

test("nothing is forwarded after [DONE]", () => {
  expect(run(sse(hello, "[DONE]", hello)).forwarded).toBe(sse(hello, "[DONE]"));
});

test.each<[string, string, object]>([
  [
    "an error first",
    sse('{"error":{"message":"secret","type":"server_error","code":"boom"}}'),
    { kind: "error", error: { code: "boom", type: "server_error" } },
  ],
  [
    "an error with a number",
    sse('{"error":{"message":"slow","code":429}}'),
    { kind: "error", error: { code: "429", type: "" } },
  ],
  [
    "an error of vLLM",
    sse('{"object":"error","message":"secret","type":"BadRequestError","code":400}'),
    { kind: "error", error: { code: "400", type: "BadRequestError" } },
  ],
  ["an error that is text", sse('{"error":"secret text"}'), { kind: "error", error: { code: "", type: "" } }],
  [
    "event: error",
    'event: error\ndata: {"error":{"message":"secret"}}\n\n',
    { kind: "error", error: { code: "", type: "" } },
  ],
  ["event: error without JSON", "event: error\ndata: secret\n\n", { kind: "error", error: { code: "", type: "" } }],
  [
    "prose where a code should be",
    sse('{"error":{"code":"some secret words","type":"x y"}}'),
    { kind: "error", error: { code: "", type: "" } },
  ],
])("%s, before and after content", (_, text, fault) => {
  const first = run(sse(role) + text + sse(hello));
  expect(first.facts).toMatchObject({ content: false, complete: false, fault });
  const late = run(sse(role, hello, hello) + text + sse(hello, "[DONE]"));
  expect(late.facts).toMatchObject({ content: true, complete: false, fault });
  expect(late.forwarded).toBe(sse(role, hello, hello));
  expect(JSON.stringify([first, late])).not.toContain("secret");
});

test('"error": null is none', () => {
  const text = sse(
    role,
    chunk({ content: "a" }, { error: null }),
    chunk({ content: "b" }, { error: null }),
    stop,
    "[DONE]",
  );
  expect(run(text)).toMatchObject({ forwarded: text, facts: { fault: undefined, complete: true } });
});

test("words of the protocol inside a text are text", () => {
  const words = [
    '"usage":{"prompt_tokens":1}',
    '{"error":{}}',
    "[DONE]",
    "data: [DONE]\n\n",
    '"finish_reason":"stop"',
    "event: error",
  ];
  const text = sse(role, hello, ...words.map((content) => chunk({ content })), stop, "[DONE]");
  const { forwarded, facts } = run(text);
  expect(forwarded).toBe(text);
  expect(facts).toMatchObject({ complete: true, fault: undefined, usage: undefined, contentEvents: 8 });
});

test("what is not JSON is a fault", () => {
  expect(run("data: <html>\n\n").facts.fault).toEqual({ kind: "malformed" });
  expect(run("data: 5\n\n").facts.fault).toEqual({ kind: "malformed" });
  expect(run(sse(hello, '{"usage":{"prompt')).facts.fault).toEqual({ kind: "malformed" });
  // After it, one that breaks off is found by its end.
  const broken = run(sse(hello, hello, hello.slice(0, -20), hello, "[DONE]"));
  expect(broken.facts.fault).toEqual({ kind: "malformed" });
  expect(broken.forwarded).toBe(sse(hello, hello));
});

test("an event may be as long as the limit and no longer", () => {
  const long = sse(chunk({ content: "x".repeat(5_000) }));
  for (const size of [1, 100, 10_000]) {
    const pieces = (text: string) =>
      Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        Buffer.from(text.slice(i * size, (i + 1) * size)),
      );
    const text = sse(hello) + long + sse(stop, "[DONE]");
    expect(feed(pieces(text), { includeUsage: false, eventBytesMax: long.length }).forwarded).toBe(text);
    const over = feed(pieces(text), { includeUsage: false, eventBytesMax: long.length - 1 });
    expect(over.facts.fault).toEqual({ kind: "too-long" });
    expect(over.forwarded).toBe(sse(hello));
  }
});

test("a line of 10 MB is a fault, and at most the limit is kept", () => {
  const reader = createChatStreamReader({ includeUsage: false });
  const piece = Buffer.alloc(65_536, "x");
  let pushed = 0;
  for (; pushed < 160 && reader.facts.fault === undefined; pushed += 1) reader.push(piece);
  expect(reader.facts.fault).toEqual({ kind: "too-long" });
  expect(pushed * piece.length).toBeLessThan(8.2 * 1024 * 1024);
});

test("a byte order mark is taken off", () => {
  const text = sse(hello, stop, "[DONE]");
  const bytes = Buffer.from(`\uFEFF${text}`);
  for (let at = 0; at < 6; at += 1) {
    expect(feed([bytes.subarray(0, at), bytes.subarray(at)], { includeUsage: false }).forwarded).toBe(text);
  }
});

test("output is counted by events of a token and by bytes of larger ones", () => {
  const ends = sse(stop, "[DONE]");
  expect(run(sse(role) + sse(chunk({ content: "word" })).repeat(500) + ends).facts.outputTokens).toBe(500);
  expect(run(sse(role) + sse(chunk({ content: "x".repeat(400) })).repeat(50) + ends).facts.outputTokens).toBe(5_000);
  const padded = chunk({ content: "word" }, { obfuscation: "y".repeat(300) });
  expect(run(sse(role) + sse(padded).repeat(100) + ends).facts.outputTokens).toBe(100);
  expect(run(sse(role, stop, "[DONE]")).facts.outputTokens).toBe(0);
});

test("after content, whole events go on as the very bytes that came", () => {
  const reader = createChatStreamReader({ includeUsage: false });
  reader.push(Buffer.from(sse(role, hello)));
  const bytes = Buffer.from(sse(hello, hello, hello));
  expect(reader.push(bytes)).toBe(bytes);
});

// A stream as some provider might send it: chunks, comments, pings and ends in any order, lines ended in any way.
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.constantFrom("error", "[DONE]", '"usage":{', "data: x\n\n", "\\", '"'),
);
const delta = fc.oneof(
  text.map((content) => ({ content })),
  fc.constant({ role: "assistant", content: "" }),
  text.map((reasoning_content) => ({ reasoning_content })),
  text.map((args) => ({ tool_calls: [{ index: 1, function: { arguments: args } }] })),
);
const usageArb = fc.record({ prompt_tokens: fc.nat(9), completion_tokens: fc.nat(9) });
const jsonEvent = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .record({
        delta,
        index: fc.constantFrom(0, 0, 0, 1),
        end: fc.constantFrom(null, null, null, "stop"),
        usage: fc.option(usageArb, { freq: 4 }),
      })
      .map(({ delta: d, index, end, usage: u }) => chunk(d, { index, finish_reason: end, usage: u })),
  },
  { weight: 1, arbitrary: usageArb.map((u) => JSON.stringify({ choices: [], usage: u })) },
  { weight: 1, arbitrary: fc.constantFrom('{"type":"ping"}', '{"choices":[]}', '{"choices": [ ], "usage":null}') },
);
const event = fc.oneof(
  { weight: 12, arbitrary: jsonEvent.map((json) => [`data: ${json}`]) },
  { weight: 1, arbitrary: jsonEvent.map((json) => [`data:${json}`]) },
  { weight: 1, arbitrary: jsonEvent.map((json) => ["event: chunk", `data: ${json}`, "id: 7"]) },
  {
    weight: 1,
    arbitrary: jsonEvent
      .map((json) => json.split(",").map((part, i) => `data: ${i === 0 ? "" : ","}${part}`))
      .filter((lines) => isJson(lines)),
  },
  { weight: 1, arbitrary: fc.constantFrom([": ping"], ["event: ping"], ["data:"], [""], ["retry: 5"]) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(["data: [DONE]"], ['data: {"error":{"code":"x"}}'], ["event: error", "data: y"]),
  },
);
const stream = fc
  .record({
    events: fc.array(event, { maxLength: 40 }),
    endings: fc.constantFrom(["\n"], ["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]),
    mark: fc.boolean(),
    tail: fc.nat(3),
  })
  .map(({ events, endings, mark, tail }) => {
    let lines = 0;
    const whole = events.flatMap((event_) => [...event_, ""]).map((line) => line + endings[lines++ % endings.length]);
    return Buffer.from((mark ? "\uFEFF" : "") + whole.join("")).subarray(0, tail === 3 ? -1 : undefined);
  });

function isJson(lines: string[]): boolean {
  try {
    JSON.parse(lines.map((line) => line.slice(6)).join("\n"));
    return true;
  } catch {
    return false;
  }
}

/** The same, in the plainest way: the whole text at once, every event parsed. */
function reference(bytes: Buffer, includeUsage: boolean) {
  const whole = bytes.toString().replace(/^\uFEFF/, "");
  const state = { content: false, complete: false, fault: false, usage: undefined as unknown, replyId: "" };
  const seen = new Set<number>();
  const ended = new Set<number>();
  let out = "";
  let rest = whole;
  let clean = true;
  while (rest !== "" && !state.complete && !state.fault) {
    const match = /^(?:[^\r\n]+(?:\r\n|\r(?!\n)|\n))*(?:\r\n|\r(?!\n)|\n)/.exec(rest);
    // Without its blank line an event counts when it is one all the same.
    const raw = match?.[0] ?? rest;
    rest = rest.slice(raw.length);
    const fields = raw.split(/\r\n|\r|\n/).map((line) => /^(event|data)(?:: ?(.*))?$/s.exec(line));
    const values = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field?.[2] ?? "");
    const data = values("data").join("\n").trim();
    const forward = () => (out += match ? raw : raw.endsWith("\n") ? `${raw}\n` : `${raw}\n\n`);
    if (data === "") {
      if (match) forward();
    } else if (data === "[DONE]") {
      state.complete = true;
      out += done;
    } else {
      let json: Record<string, unknown> | undefined;
      try {
        json = JSON.parse(data) as Record<string, unknown>;
      } catch {
        if (!match) {
          clean = false;
          break;
        }
      }
      if (values("event").at(-1) === "error" || json === undefined || json["error"] != null) {
        state.fault = true;
        break;
      }
      const read = readChunk(json);
      read.choices.forEach((choice) => seen.add(choice));
      read.finished.forEach((choice) => ended.add(choice));
      state.content ||= read.content;
      if (state.replyId === "" && typeof json["id"] === "string") state.replyId = json["id"];
      if (json["usage"] != null) state.usage = readUsage(json["usage"]);
      const extra = json["usage"] != null || (state.content && json["usage"] === null);
      if (!extra || !read.bare || includeUsage) forward();
    }
  }
  if (clean && !state.fault && !state.complete && ended.size > 0 && [...seen].every((choice) => ended.has(choice))) {
    state.complete = true;
    out += done;
  }
  return { forwarded: out, ...state };
}

test("agrees with the plain way, however the bytes are cut", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (bytes, offsets, includeUsage) => {
      const unsplit = feed([bytes], { includeUsage });
      const { forwarded, content, complete, fault, usage: lastUsage, replyId } = reference(bytes, includeUsage);
      expect(unsplit.forwarded).toBe(forwarded);
      expect(unsplit.facts).toMatchObject({ content, complete, usage: lastUsage, replyId });
      expect(unsplit.facts.fault !== undefined).toBe(fault);
      expect(feed(cut(bytes, offsets), { includeUsage })).toEqual(unsplit);
    }),
    { numRuns: 4_000 },
  );
});

test("every cut into two, and every byte alone", () => {
  const bytes = Buffer.from(
    `: hi\r\n\r\n${sse(role, chunk({ content: "zwölf 🐟" }), hello, stop, usageOnly, "[DONE]")}`,
  );
  const unsplit = feed([bytes], { includeUsage: false });
  for (let at = 0; at <= bytes.length; at += 1) {
    expect(feed([bytes.subarray(0, at), bytes.subarray(at)], { includeUsage: false })).toEqual(unsplit);
  }
  expect(feed(cut(bytes, Array.from(bytes.keys())), { includeUsage: false })).toEqual(unsplit);
});
