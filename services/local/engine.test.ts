import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallCancelled, toWeirError, WeirError } from "@weir/kit/weir-error";
import type { Llama } from "node-llama-cpp";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Engine } from "./engine.ts";
import { startLlama } from "./llama.ts";
import { type Answer, answerOf, chat, engineOf, silentLog } from "./testing/engine.ts";
import { writeTinyModel } from "./testing/tiny-model.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-local-"));
const tiny = join(folder, "tiny.gguf");
const wide = join(folder, "wide.gguf");
let llama: Llama;
let engine: Engine;

beforeAll(async () => {
  writeTinyModel(tiny);
  writeTinyModel(wide, { seed: 2, width: 64 });
  llama = await startLlama(silentLog);
  engine = await engineOf(llama, { files: { tiny, wide } });
});

afterAll(async () => {
  await engine.close();
  await llama.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const never = new AbortController().signal;
const facts = { id: "reply-1", createTimeMs: 0 };

function ask(members?: Readonly<Record<string, unknown>>, from = engine): Promise<Answer> {
  return answerOf(from.generate(chat(members), facts, never));
}

async function failureOf(work: Promise<unknown>): Promise<WeirError> {
  try {
    await work;
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown;
    throw thrown;
  }
  throw new Error("it did not fail");
}

test("a reply comes in pieces, with the exact counts of prompt and reply", async () => {
  const answer = await ask({ messages: [{ role: "user", content: "hello the world" }] });
  // One token for each of "user: ", "hello", " ", "the", " world", a line break as a byte, and "assistant: ".
  expect(answer.inputTokens).toBe("user: ".length + 1 + 1 + 1 + " world".length + 1 + "assistant: ".length);
  expect(answer).toMatchObject({ outputTokens: 16, reason: StopReason.LENGTH });
  expect(answer.pieces).toBeGreaterThan(4);
  expect(await engine.countTokens(chat({ messages: [{ role: "user", content: "hello the world" }] }), never)).toBe(
    answer.inputTokens,
  );
});

test("the same seed says the same, another seed something else, and no warmth is always the same", async () => {
  const [first, again, other] = [await ask(), await ask(), await ask({ seed: 8 })];
  expect(again).toEqual(first);
  expect(other.text).not.toBe(first.text);
  const cold = await ask({ temperature: 0, seed: 1 });
  expect(await ask({ temperature: 0, seed: 2 })).toEqual(cold);
});

test("without a seed two replies differ", async () => {
  expect((await ask({ seed: undefined, max_tokens: 24 })).text).not.toBe(
    (await ask({ seed: undefined, max_tokens: 24 })).text,
  );
});

test("what users write is never read as a control token", async () => {
  const plain = await engine.countTokens(chat({ messages: [{ role: "user", content: "a" }] }), never);
  const control = await engine.countTokens(chat({ messages: [{ role: "user", content: "a</s>" }] }), never);
  expect(control - plain).toBe("</s>".length);
});

test("a stop sequence ends a reply, stands not in it, and is named", async () => {
  const whole = await ask({ max_tokens: 40, temperature: 1.5 });
  const at = Math.floor(whole.text.length / 2);
  const stop = whole.text.slice(at, at + 2);
  const cut = await ask({ max_tokens: 40, temperature: 1.5, stop: [stop, "never said"] });
  expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
  expect(cut).toMatchObject({ reason: StopReason.STOP_SEQUENCE, stopSequence: stop });
  expect(cut.outputTokens).toBeLessThan(40);
});

test("a reply that must be JSON parses, and one with a schema has its form", async () => {
  let ended = 0;
  for (let seed = 1; ended < 2; seed += 1) {
    expect(seed).toBeLessThan(50);
    const { text, reason } = await ask({ response_format: { type: "json_object" }, max_tokens: 200, seed });
    // A model that talks nonsense may not come to an end; one that does has written an object.
    if (reason !== StopReason.END) continue;
    ended += 1;
    expect(JSON.parse(text)).toBeTypeOf("object");
  }
  const schema = {
    type: "object",
    properties: {
      city: { enum: ["Berlin", "Paris"] },
      sunny: { type: "boolean" },
      tags: { type: "array", items: { type: "string", maxLength: 3 }, maxItems: 2 },
      note: { anyOf: [{ type: "null" }, { const: "none" }] },
    },
    required: ["city", "sunny", "tags", "note"],
    additionalProperties: false,
  };
  for (const seed of [1, 2, 3]) {
    const format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema } };
    const { text, reason } = await ask({ response_format: format, max_tokens: 400, seed });
    expect(reason).toBe(StopReason.END);
    const value = JSON.parse(text) as { city: string; sunny: boolean; tags: string[]; note: string | null };
    expect(["Berlin", "Paris"]).toContain(value.city);
    expect(value.sunny).toBeTypeOf("boolean");
    expect(value.tags.length).toBeLessThanOrEqual(2);
    expect([null, "none"]).toContain(value.note);
  }
});

test("many texts are made into tokens between others' work", async () => {
  let turns = 0;
  const count = (): void => {
    turns += 1;
    turning = setImmediate(count);
  };
  let turning = setImmediate(count);
  const inputs = [...Array.from({ length: 50 }, () => ({ content: "hello" })), { content: "" }];
  const failed = await failureOf(engine.embed("tiny", { inputs, extensions: {} }, never));
  clearImmediate(turning);
  expect(failed.reason).toBe(ErrorReason.INVALID_REQUEST);
  expect(turns).toBeGreaterThanOrEqual(50);
});

test("embeddings have the model's width and length 1, and are the same for the same text", async () => {
  const request = { inputs: [{ content: "hello" }, { content: "the" }, { content: "hello" }], extensions: {} };
  const [hello, the, again] = await engine.embed("tiny", request, never);
  expect(hello?.vector).toHaveLength(32);
  expect(Math.hypot(...(hello?.vector ?? []))).toBeCloseTo(1, 6);
  expect(again).toEqual(hello);
  expect(the?.vector).not.toEqual(hello?.vector);
  // The begin of the sequence, and the one token of the word.
  expect(hello?.inputTokens).toBe(2);
  const [other] = await engine.embed("wide", { inputs: [{ content: "hello" }], extensions: {} }, never);
  expect(other?.vector).toHaveLength(64);
});

test("models take turns in memory, and each answers as itself", async () => {
  const first = await ask();
  expect(engine.loaded()).toEqual(["tiny"]);
  const other = await ask({ model: "wide" });
  expect(engine.loaded()).toEqual(["wide"]);
  expect(other.text).not.toBe(first.text);
  expect(await ask()).toEqual(first);
});

test("replies are generated beside each other", async () => {
  const started: string[] = [];
  const follow = async (name: string) => {
    for await (const { kind } of engine.generate(chat({ max_tokens: 30 }), facts, never)) {
      if (kind.case === "delta") started.push(name);
    }
  };
  await Promise.all([follow("a"), follow("b")]);
  // Neither waited for the other's end.
  expect(started.lastIndexOf("a")).toBeGreaterThan(started.indexOf("b"));
  expect(started.lastIndexOf("b")).toBeGreaterThan(started.indexOf("a"));
});

test("who gives up stops the model at the next token and frees the place", async () => {
  const alone = await engineOf(llama, { files: { tiny }, sequences: 1 });
  const giveUp = new AbortController();
  let pieces = 0;
  const reading = (async () => {
    for await (const { kind } of alone.generate(chat({ max_tokens: 400 }), facts, giveUp.signal)) {
      if (kind.case !== "delta") continue;
      pieces += 1;
      giveUp.abort();
    }
  })();
  await expect(reading).rejects.toThrow(CallCancelled);
  expect(pieces).toBe(1);
  expect((await ask({}, alone)).outputTokens).toBe(16);
  await alone.close();
});

test("a reader who leaves frees the place", async () => {
  const alone = await engineOf(llama, { files: { tiny }, sequences: 1 });
  for await (const { kind } of alone.generate(chat({ max_tokens: 400 }), facts, never)) {
    if (kind.case === "delta") break;
  }
  expect((await ask({}, alone)).outputTokens).toBe(16);
  await alone.close();
});

test("a full queue refuses at once and a long wait refuses in time, with a delay", async () => {
  const alone = await engineOf(llama, {
    files: { tiny },
    sequences: 1,
    queueMax: 1,
    wait: { $typeName: "google.protobuf.Duration", seconds: 0n, nanos: 200_000_000 },
  });
  await ask({}, alone);
  const busy = alone.generate(chat({ max_tokens: 400 }), facts, never);
  await busy.next();
  const waiting = failureOf(ask({}, alone));
  const refused = await failureOf(ask({}, alone));
  expect(refused.reason).toBe(ErrorReason.OVERLOADED);
  expect(refused.retryAfterMs).toBeGreaterThanOrEqual(1_000);
  expect((await waiting).reason).toBe(ErrorReason.OVERLOADED);
  await busy.return(undefined);
  expect((await ask({}, alone)).outputTokens).toBe(16);
  await alone.close();
});

test("a prompt without room for a reply is refused, and a reply ends with the context", async () => {
  const long = [{ role: "user", content: "x".repeat(600) }];
  expect((await failureOf(ask({ messages: long }))).reason).toBe(ErrorReason.CONTEXT_TOO_LONG);
  const nearly = [{ role: "user", content: "x".repeat(470) }];
  const answer = await ask({ messages: nearly, max_tokens: 400, temperature: 1.9 });
  expect((answer.inputTokens ?? 0) + (answer.outputTokens ?? 0)).toBe(512);
  expect(answer.reason).toBe(StopReason.CONTEXT_FULL);
});

test.each([
  ["tools", { tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }] }],
  ["choice_count", { n: 2 }],
  ["top_logprobs", { logprobs: true, top_logprobs: 2 }],
  ["sampling.logit_bias", { logit_bias: { "5": 1 } }],
  [
    "messages",
    { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "https://x/y.png" } }] }] },
  ],
  [
    "output_format.json_schema.schema",
    { response_format: { type: "json_schema", json_schema: { name: "s", schema: { type: "string", pattern: "a+" } } } },
  ],
])("what it cannot do is refused by name: %s", async (param, members) => {
  const failure = await failureOf(ask(members));
  expect(failure.reason).toBe(ErrorReason.TARGET_UNSUPPORTED);
  expect(failure.metadata["param"]).toBe(param);
});

test("a conversation that the model's template refuses is the client's fault", async () => {
  const strict = join(folder, "strict.gguf");
  const template =
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}" +
    "{% endif %}{{ m['content'] }}{% endfor %}";
  writeTinyModel(strict, { template });
  const other = await engineOf(llama, { files: { tiny: strict } });
  expect((await ask({}, other)).outputTokens).toBe(16);
  const messages = [
    { role: "assistant", content: "a" },
    { role: "user", content: "b" },
  ];
  const outcome = await failureOf(ask({ messages }, other));
  expect(outcome.reason).toBe(ErrorReason.INVALID_REQUEST);
  await other.close();
});

test("a text that cannot fit is refused before it is made into tokens", async () => {
  const startMs = performance.now();
  const messages = [{ role: "user", content: "x".repeat(20_000_000) }];
  expect((await failureOf(ask({ messages }))).reason).toBe(ErrorReason.CONTEXT_TOO_LONG);
  const inputs = [{ content: "x".repeat(20_000_000) }];
  expect((await failureOf(engine.embed("tiny", { inputs, extensions: {} }, never))).reason).toBe(
    ErrorReason.CONTEXT_TOO_LONG,
  );
  expect(performance.now() - startMs).toBeLessThan(1_000);
});

test("a model that nobody configured is not found", async () => {
  expect((await failureOf(ask({ model: "other" }))).reason).toBe(ErrorReason.MODEL_NOT_FOUND);
});

test("a file that breaks after the start fails its requests and nothing else, and is tried again", async () => {
  const fragile = join(folder, "fragile.gguf");
  writeTinyModel(fragile);
  const other = await engineOf(llama, { files: { tiny: fragile } });
  writeFileSync(fragile, "no model");
  const failure = await failureOf(ask({}, other));
  expect(toWeirError(failure).reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  writeTinyModel(fragile);
  expect((await ask({}, other)).outputTokens).toBe(16);
  await other.close();
});
