import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI, { BadRequestError } from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Weir } from "../../test/e2e/weir.ts";
import type { LedgerRow } from "../../test/ledger.ts";
import { oneProcess } from "../../test/runners.ts";
import { writeTinyModel } from "./testing/tiny-model.ts";

// Models of this machine behind a whole gateway, as an official SDK meets them.

const folder = mkdtempSync(join(tmpdir(), "weir-local-gateway-"));
let weir: Weir;
let client: OpenAI;

beforeAll(async () => {
  const files = { tiny: join(folder, "tiny.gguf"), other: join(folder, "other.gguf") };
  writeTinyModel(files.tiny);
  writeTinyModel(files.other, { seed: 2 });
  weir = await oneProcess.start({
    config: (simulatorUrl) => ({
      discovery: { environment: false, local: false, demo: false },
      providers: {
        house: { kind: "local", local: { files, threads: 1, sequences: 2, context_tokens: 512 } },
        remote: { kind: "openai", base_url: `${simulatorUrl}/v1` },
      },
      aliases: {
        tiny: { targets: [{ provider: "house", model: "tiny" }] },
        other: { targets: [{ provider: "house", model: "other" }] },
        helpful: {
          targets: [
            { provider: "house", model: "tiny" },
            { provider: "remote", model: "sim" },
          ],
          allow_unpriced: true,
        },
      },
    }),
  });
  client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: weir.key, maxRetries: 0 });
});

afterAll(async () => {
  await weir?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const messages = [{ role: "user" as const, content: "hello" }];

async function rowsOf(user: string): Promise<LedgerRow[]> {
  return vi.waitFor(
    async () => {
      const rows = await weir.ledger.rows({ endUser: user });
      expect(rows).not.toHaveLength(0);
      return rows;
    },
    { timeout: 10_000, interval: 100 },
  );
}

test("a whole answer and a stream say the same, and the ledger holds what the model counted, at no cost", async () => {
  const request = { model: "tiny", messages, max_completion_tokens: 12, temperature: 0 };
  const whole = await client.chat.completions.create({ ...request, safety_identifier: "whole" });
  expect(whole.choices[0]?.finish_reason).toBe("length");
  expect(whole.usage?.completion_tokens).toBe(12);

  let text = "";
  let usage: OpenAI.CompletionUsage | null | undefined;
  const options = { stream: true, stream_options: { include_usage: true } } as const;
  for await (const chunk of await client.chat.completions.create({
    ...request,
    ...options,
    safety_identifier: "stream",
  })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  expect(text).toBe(whole.choices[0]?.message.content);
  expect(usage).toMatchObject({ prompt_tokens: whole.usage?.prompt_tokens, completion_tokens: 12 });

  for (const user of ["whole", "stream"]) {
    const [row] = await rowsOf(user);
    expect(row).toMatchObject({
      provider: "house",
      model: "tiny",
      outcome: "completed",
      usageSource: "reported",
      inputTokens: whole.usage?.prompt_tokens,
      outputTokens: 12,
      costNanoUsd: 0n,
    });
  }
});

test("another model of the provider answers as itself", async () => {
  const ask = (model: string) =>
    client.chat.completions.create({ model, messages, max_completion_tokens: 12, temperature: 0 });
  const [tiny, other] = [await ask("tiny"), await ask("other")];
  expect(other.model).toBe("other");
  expect(other.choices[0]?.message.content).not.toBe(tiny.choices[0]?.message.content);
});

test("embeddings come as numbers and as base64", async () => {
  const plain = await client.embeddings.create({ model: "tiny", input: ["hello", "the"], encoding_format: "float" });
  const packed = await client.embeddings.create({ model: "tiny", input: ["hello", "the"], user: "embeddings" });
  expect(plain.data.map(({ embedding }) => embedding.length)).toEqual([32, 32]);
  expect(packed.data[0]?.embedding).toHaveLength(32);
  expect(packed.data[0]?.embedding[0]).toBeCloseTo(plain.data[0]?.embedding[0] ?? Number.NaN, 6);
  const [row] = await rowsOf("embeddings");
  expect(row).toMatchObject({ inputTokens: packed.usage.prompt_tokens, usageSource: "reported" });
});

test("tokens of a prompt are counted by the model, in another vendor's dialect as well", async () => {
  const response = await fetch(`${weir.url}/v1/messages/count_tokens`, {
    method: "POST",
    headers: { "x-api-key": weir.key, "content-type": "application/json" },
    body: JSON.stringify({ model: "tiny", messages }),
  });
  const whole = await client.chat.completions.create({ model: "tiny", messages, max_completion_tokens: 1 });
  expect(await response.json()).toEqual({ input_tokens: whole.usage?.prompt_tokens });
});

test("Anthropic's SDK is answered in its own words, streaming and not", async () => {
  const anthropic = new Anthropic({ baseURL: weir.url, apiKey: weir.key, maxRetries: 0 });
  const request = { model: "tiny", messages, max_tokens: 12, temperature: 0 };
  const whole = await anthropic.messages.create(request);
  expect(whole.usage.output_tokens).toBe(12);
  expect(whole.stop_reason).toBe("max_tokens");
  const [block] = whole.content;
  expect(await anthropic.messages.stream(request).finalText()).toBe(block?.type === "text" ? block.text : "");
});

test("a request that a local model cannot serve goes to the next target, and is refused where there is none", async () => {
  const tools = [
    { type: "function" as const, function: { name: "f", parameters: { type: "object", properties: {} } } },
  ];
  const answer = await client.chat.completions.create({
    model: "helpful",
    messages,
    tools,
    safety_identifier: "tools",
  });
  expect(answer.choices).toHaveLength(1);
  expect(await rowsOf("tools")).toMatchObject([{ provider: "remote" }]);
  await expect(client.chat.completions.create({ model: "tiny", messages, tools })).rejects.toThrow(BadRequestError);
});
