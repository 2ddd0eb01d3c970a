import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BudgetScopeSchema, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createLog } from "@weir/kit/log";
import { createSimulator, type Script } from "@weir/simulator/simulator";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type RunningServices, startServices } from "weir/compose";
import { readSettings, serviceNames } from "weir/settings";
import { stringify } from "yaml";
import { createDatabase, startPostgres } from "../servers.ts";

// A whole gateway with its budgets, as its clients see them. A token of output costs 10,000 nano-USD, one of input nothing.

const nanoUsdPerToken = 10_000;
const simulator = createSimulator();
const undo: (() => unknown)[] = [];
let weir: RunningServices;
let key: string;
let serial = 0;

beforeAll(async () => {
  const postgres = await startPostgres();
  const database = await createDatabase(postgres.url);
  undo.push(
    () => postgres.stop(),
    () => database.drop(),
  );
  const folder = mkdtempSync(join(tmpdir(), "weir-budgets-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const { url } = await simulator.listen();
  undo.push(() => simulator.close());
  const config = {
    discovery: { environment: false, local: false, demo: false },
    providers: { sim: { kind: "openai", base_url: `${url}/v1`, api_key: "sk-test" } },
    aliases: {
      chat: { targets: [{ provider: "sim", model: "sim-large" }] },
      unpriced: { targets: [{ provider: "sim", model: "other" }], allow_unpriced: true },
    },
    prices: [{ provider: "sim", model: "sim-*", input_usd_per_million: "0", output_usd_per_million: "10" }],
  };
  writeFileSync(join(folder, "weir.yaml"), stringify(config));
  const env = {
    WEIR_CONFIG: join(folder, "weir.yaml"),
    WEIR_DATA_DIR: join(folder, "data"),
    WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
    WEIR_HOST: "127.0.0.1",
    WEIR_PORT: "0",
    WEIR_DATABASE_URL: database.url,
  };
  const log = createLog({ service: "weir", level: "error", destination: { write: () => undefined } });
  weir = await startServices(serviceNames, readSettings(env), { env: {}, log });
  undo.push(() => weir.close());
  key = (await weir.clients.accounts.createKey({ tenant: "tenants/default" })).secret;
  await vi.waitFor(async () => expect((await ask({}, { user: "nobody" })).status).toBe(200), { timeout: 10_000 });
});
afterAll(async () => {
  for (const step of undo.toReversed()) await step();
});

/** A budget of so many tokens of output, when the pool knows of it. */
async function budget(tokens: number, scope: MessageInitShape<typeof BudgetScopeSchema>, softPercents: number[] = []) {
  serial += 1;
  const budgetId = `budget-${serial}`;
  await weir.clients.budgets.createBudget({
    budgetId,
    limitNanoUsd: BigInt(tokens * nanoUsdPerToken),
    window: { kind: WindowKind.DAY },
    scope,
    softPercents,
  });
  const { user = "", tag = "" } = scope;
  const headers = tag === "" ? {} : { "x-weir-tags": tag };
  await vi.waitFor(async () => {
    const answer = await ask({ tokens: 1 }, { user, headers, maxTokens: 1 });
    expect(answer.headers.has("x-weir-budget-remaining-usd")).toBe(true);
  });
  return budgetId;
}

interface AskOptions {
  readonly user: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxTokens?: number;
  readonly stream?: boolean;
  readonly model?: string;
}

async function ask(script: Script, { user, headers = {}, maxTokens, stream = false, model = "chat" }: AskOptions) {
  const response = await fetch(`${weir.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: "hello" }],
      x_sim: script,
      stream,
      user,
      ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    }),
  });
  let text = "";
  let isBroken = false;
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true });
  } catch {
    isBroken = true;
  }
  return { status: response.status, headers: response.headers, text, isBroken };
}

/** What the ledger has taken from a budget, in tokens of output. */
async function spentOf(budgetId: string): Promise<number> {
  const { budget: found } = await weir.clients.budgets.getBudget({ name: `budgets/${budgetId}` });
  return Number(found?.standings[0]?.spentNanoUsd ?? 0n) / nanoUsdPerToken;
}

test("a spent budget is refused as OpenAI refuses, and its SDK does not try again", async () => {
  const budgetId = await budget(50, { user: "ann" });
  const client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: key });
  const scripted = {
    model: "chat",
    messages: [{ role: "user" as const, content: "hello" }],
    max_completion_tokens: 20,
    safety_identifier: "ann",
    x_sim: { tokens: 20 },
  };
  const call = () => client.chat.completions.create(scripted);
  await call();
  await call();
  const before = simulator.counts().attempts;
  const failure = await call().catch((thrown: unknown) => thrown);
  expect(failure).toBeInstanceOf(OpenAI.RateLimitError);
  expect(failure).toMatchObject({ status: 429, code: "insufficient_quota", type: "insufficient_quota" });
  expect((failure as InstanceType<typeof OpenAI.RateLimitError>).headers?.get("x-should-retry")).toBe("false");
  expect(simulator.counts().attempts).toBe(before);
  await vi.waitFor(async () => expect(await spentOf(budgetId)).toBe(41), { timeout: 5_000 });
});

test("Anthropic's clients are told of a spent budget as of billing", async () => {
  await budget(1, { user: "ben" });
  const response = await fetch(`${weir.url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": key, "content-type": "application/json" },
    body: JSON.stringify({
      model: "chat",
      max_tokens: 10,
      messages: [{ role: "user", content: "hello" }],
      metadata: { user_id: "ben" },
    }),
  });
  expect(response.status).toBe(402);
  expect(await response.json()).toMatchObject({ type: "error", error: { type: "billing_error" } });
});

test("a stream gets more and more, and is cut with an error where the budget ends", async () => {
  const budgetId = await budget(3_000, { user: "cat" });
  const script = { tokens: 20_000, chunkTokens: 4, gapMs: 2 };
  const answer = await ask(script, { user: "cat", stream: true });
  expect(answer.status).toBe(200);
  expect(answer.text).toContain('"code":"insufficient_quota"');
  expect(answer.text).not.toContain("[DONE]");
  expect(answer.isBroken).toBe(true);
  await vi.waitFor(async () => expect(await spentOf(budgetId)).toBeGreaterThan(2_400), { timeout: 5_000 });
  expect(await spentOf(budgetId)).toBeLessThanOrEqual(3_000);
});

test("what is left and the soft limits that were crossed are in the headers", async () => {
  await budget(100, { user: "dan" }, [50]);
  const first = await ask({ tokens: 60 }, { user: "dan", maxTokens: 60 });
  expect(Number(first.headers.get("x-weir-budget-remaining-usd"))).toBeLessThanOrEqual(0.001);
  expect(first.headers.get("x-weir-warnings")).toBeNull();
  await vi.waitFor(
    async () => {
      const next = await ask({ tokens: 1 }, { user: "dan", maxTokens: 1 });
      expect(next.headers.get("x-weir-warnings")).toMatch(/^budget_soft_limit budget-\d+ 50$/);
    },
    { timeout: 15_000, interval: 1_000 },
  );
});

test("a budget that takes the place of another of its name begins with nothing spent, and holds", async () => {
  const budgetId = await budget(500, { user: "ivy" });
  await ask({ tokens: 20 }, { user: "ivy", maxTokens: 20 });
  const name = `budgets/${budgetId}`;
  await weir.clients.budgets.deleteBudget({ name });
  const scope = { user: "ivy" };
  const window = { kind: WindowKind.TOTAL };
  const limitNanoUsd = BigInt(30 * nanoUsdPerToken);
  await weir.clients.budgets.createBudget({ budgetId, limitNanoUsd, window, scope });
  await vi.waitFor(async () => expect((await ask({}, { user: "ivy", maxTokens: 31 })).status).toBe(429), {
    timeout: 5_000,
  });
  expect((await ask({ tokens: 20 }, { user: "ivy", maxTokens: 20 })).status).toBe(200);
  expect((await ask({ tokens: 20 }, { user: "ivy", maxTokens: 20 })).status).toBe(429);
});

test("a budget of a tag holds for calls that bear it", async () => {
  await budget(10, { tag: "job=nightly" });
  const spent = await ask({ tokens: 20 }, { user: "eve", maxTokens: 20, headers: { "x-weir-tags": "job=nightly" } });
  expect(spent.status).toBe(429);
  expect((await ask({ tokens: 20 }, { user: "eve", maxTokens: 20 })).status).toBe(200);
});

test("a model without a price cannot be called on a budget, though its alias allows it", async () => {
  await budget(1_000, { user: "fay" });
  const refused = await ask({}, { user: "fay", model: "unpriced" });
  expect(refused.status).toBe(400);
  expect(refused.text).toContain("model_unpriced");
  expect((await ask({}, { user: "gus", model: "unpriced" })).status).toBe(200);
});

test("two hundred calls at once on a budget for fifty: no more are served than it covers", async () => {
  const budgetId = await budget(1_001, { user: "hal" });
  const call = () => ask({ tokens: 20, headMs: 20 }, { user: "hal", maxTokens: 20 });
  const answers = await Promise.all(Array.from({ length: 200 }, call));
  const served = answers.filter(({ status }) => status === 200).length;
  expect(served).toBeLessThanOrEqual(50);
  expect(served).toBeGreaterThanOrEqual(48);
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
  await vi.waitFor(async () => expect(await spentOf(budgetId)).toBe(served * 20 + 1), { timeout: 10_000 });
});
