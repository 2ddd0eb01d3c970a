import { geminiBatchEmbedContentsDoor, geminiEmbedContentDoor } from "@weir/dialect/embeddings/door";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import { ask, base64, geminiOne, geminiTwo, openaiAnswer, two, twoVectors, vectors, vendors } from "./testing.ts";

describe.each(Object.entries(vendors))("a provider of %s", (_, vendor) => {
  const { init, model } = vendor;
  const counted = vendor.source === UsageSource.COUNTED;

  test("answers a client of OpenAI's dialect in numbers", async () => {
    const got = await ask(two, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    expect(got.error).toBeUndefined();
    expect(got.sent?.url).toBe(vendor.path);
    expect(vendor.inputs(got.sentJson)).toEqual(["one", "two"]);
    expect(got.head).toMatchObject({ status: 200, contentType: "application/json", warnings: [] });
    expect(got.json).toMatchObject({
      object: "list",
      data: twoVectors.map((embedding, index) => ({ object: "embedding", index, embedding })),
    });
    const [event] = got.events;
    const inputTokens = counted ? Math.ceil(JSON.stringify(two).length / 4) : 7;
    expect(event).toMatchObject({
      outcome: AttemptOutcome.COMPLETED,
      usageSource: vendor.source,
      usage: { inputTokens, outputTokens: 0 },
      stream: false,
    });
    expect(got.json["usage"]).toEqual({ prompt_tokens: inputTokens, total_tokens: inputTokens });
    expect(got.events).toHaveLength(1);
    expect(got.intents).toMatchObject([{ reserved: { outputTokens: 0 } }]);
    expect(got.defects).toEqual([]);
  });

  test("answers it in base64 when that is asked for", async () => {
    const body = { ...two, encoding_format: "base64" };
    const got = await ask(body, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    expect(got.json).toMatchObject({ data: twoVectors.map((vector, index) => ({ index, embedding: base64(vector) })) });
  });

  test("answers a client of Gemini's dialect in the form of its request", async () => {
    const many = await ask(geminiTwo, JSON.stringify(vendor.answer(twoVectors)), {
      init,
      model,
      codec: geminiBatchEmbedContentsDoor,
    });
    expect(many.error).toBeUndefined();
    expect(vendor.inputs(many.sentJson)).toEqual(["one", "two"]);
    expect(many.json).toMatchObject({ embeddings: twoVectors.map((values) => ({ values })) });
    expect(many.events).toMatchObject([{ usageSource: vendor.source, usage: { outputTokens: 0 } }]);

    const single = vendor.init.kind === ProviderKind.GEMINI ? { embedding: { values: vectors[0] } } : undefined;
    const one = await ask(geminiOne, JSON.stringify(single ?? vendor.answer(vectors.slice(0, 1))), {
      init,
      model,
      codec: geminiEmbedContentDoor,
    });
    expect(one.error).toBeUndefined();
    expect(one.json).toMatchObject({ embedding: { values: vectors[0] } });
  });

  test.each([
    ["too few vectors", vectors.slice(0, 1)],
    ["too many vectors", vectors],
    ["no vectors", []],
    ["vectors of two lengths", [[1, 2], [1]]],
    ["an empty vector", [[1], []]],
    [
      "no number among the numbers",
      [
        [1, 2],
        [1, "2"],
      ],
    ],
    ["null for a vector", [[1, 2], null]],
    [
      "null among the numbers",
      [
        [1, 2],
        [1, null],
      ],
    ],
    [
      "a list among the numbers",
      [
        [1, 2],
        [1, [2]],
      ],
    ],
  ])("that sends %s: one clear error, one settlement", async (_what, of) => {
    await fails(JSON.stringify(vendor.answer(of)));
  });

  test.each([
    ["what is no JSON", '{"data":'],
    ["an empty object", "{}"],
    ["a list", "[]"],
    ["nothing", ""],
    ["NaN", JSON.stringify(vendor.answer([["@"], [1]])).replace('"@"', "NaN")],
    ["a number beyond all doubles", JSON.stringify(vendor.answer([["@"], [1]])).replace('"@"', "1e999")],
  ])("that sends %s: one clear error, one settlement", async (_what, bytes) => {
    await fails(bytes);
  });

  async function fails(bytes: string) {
    for (const body of [two, { ...two, encoding_format: "base64" }]) {
      const got = await ask(body, bytes, { init, model });
      expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "protocol" } });
      expect(got.text).toBe("");
      expect(got.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usage: { outputTokens: 0 } }]);
      expect(got.defects).toEqual([]);
    }
  }

  test("that sends another length than was asked for is at fault", async () => {
    const bytes = JSON.stringify(vendor.answer(twoVectors));
    const met = await ask({ ...two, dimensions: 3 }, bytes, { init, model });
    expect(met.error).toBeUndefined();
    expect(JSON.stringify(met.sentJson)).toMatch(/"(dimensions|output_?dimension(ality)?)":3/i);
    const missed = await ask({ ...two, dimensions: 4 }, bytes, { init, model });
    expect(missed.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    expect(missed.events).toHaveLength(1);
  });

  test("that refuses is told of in its own words only to clients of its dialect", async () => {
    const refusal = JSON.stringify({
      message: "secret words",
      error: { message: "secret words", type: "invalid_request_error" },
    });
    const got = await ask(two, refusal, { init, model, status: 400 });
    if (vendor.answer === openaiAnswer) {
      expect(got).toMatchObject({ text: refusal, head: { status: 400 }, error: undefined });
    } else {
      expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_REJECTED });
      expect(String((got.error as WeirError).message)).not.toContain("secret");
    }
    expect(got.events).toMatchObject([{ outcome: AttemptOutcome.REJECTED, usage: { inputTokens: 0 } }]);
  });

  test("takes no tokens unless it is of OpenAI's dialect", async () => {
    const body = { model: "alias", input: [[1, 2], [3]] };
    const got = await ask(body, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    if (vendor.answer === openaiAnswer) {
      expect(got.sentJson["input"]).toEqual(body.input);
    } else {
      expect(got.error).toMatchObject({
        reason: ErrorReason.TARGET_UNSUPPORTED,
        metadata: { param: "input[0]", provider: "p" },
      });
      expect(got.sent).toBeUndefined();
      expect(got.intents).toEqual([]);
    }
  });
});
