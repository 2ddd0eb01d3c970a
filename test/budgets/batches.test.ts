import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { createLog } from "@weir/kit/log";
import { createSimulator } from "@weir/simulator/simulator";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type RunningServices, startServices } from "weir/compose";
import { readSettings, serviceNames } from "weir/settings";
import { stringify } from "yaml";
import { createDatabase, startPostgres } from "../servers.ts";

// What batches may cost is set aside before they are made: a whole gateway, as its clients see it. In a batch a token of output costs
// 5,000 nano-USD, otherwise 10,000; one of input nothing.

const simulator = createSimulator();
const undo: (() => unknown)[] = [];
let weir: RunningServices;
let client: OpenAI;
let serial = 0;

beforeAll(async () => {
  const postgres = await startPostgres();
  const database = await createDatabase(postgres.url);
  undo.push(
    () => postgres.stop(),
    () => database.drop(),
  );
  const folder = mkdtempSync(join(tmpdir(), "weir-batch-budgets-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const { url } = await simulator.listen();
  undo.push(() => simulator.close());
  const target = (model: string) => [{ provider: "sim", model }];
  const price = (model: string) => ({
    provider: "sim",
    model,
    input_usd_per_million: "0",
    output_usd_per_million: "10",
  });
  const tiers = [{ service_tier: "batch", input_usd_per_million: "0", output_usd_per_million: "5" }];
  const capabilities = { "sim-known": { output_tokens: 1_000 } };
  const config = {
    discovery: { environment: false, local: false, demo: false },
    providers: { sim: { kind: "openai", base_url: `${url}/v1`, api_key: "sk-test", capabilities } },
    passthrough: { files: "sim", batches: "sim", fine_tuning: "sim" },
    aliases: {
      chat: { targets: target("sim-large") },
      other: { targets: target("sim-known") },
      untiered: { targets: target("dear"), allow_unpriced: true },
      strict: { targets: target("dearer") },
    },
    prices: [{ ...price("sim-*"), tiers }, price("dear"), price("dearer")],
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
  const { secret } = await weir.clients.accounts.createKey({ tenant: "tenants/default" });
  client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: secret, maxRetries: 0 });
  await vi.waitFor(() => ask("job=nobody"), { timeout: 10_000 });
});
afterAll(async () => {
  for (const step of undo.toReversed()) await step();
});

/** A budget of so many tokens of a batch's output for calls that bear a tag. @returns the tag, when the pool knows of it */
async function budget(tokens: number, scope: object = {}, softPercents: number[] = []): Promise<string> {
  serial += 1;
  const tag = `job=${serial}`;
  await weir.clients.budgets.createBudget({
    budgetId: `budget-${serial}`,
    limitNanoUsd: BigInt(tokens * 5_000),
    window: { kind: WindowKind.TOTAL },
    scope: { tag, ...scope },
    softPercents,
  });
  await vi.waitFor(async () => expect((await ask(tag)).headers.has("x-weir-budget-remaining-usd")).toBe(true), {
    timeout: 10_000,
  });
  return tag;
}

/** How the budget of a tag stands, in tokens of a batch's output. */
async function standing(tag: string) {
  const { budget: found } = await weir.clients.budgets.getBudget({
    name: `budgets/budget-${tag.slice("job=".length)}`,
  });
  const { spentNanoUsd = 0n, leasedNanoUsd = 0n } = found?.standings[0] ?? {};
  return { spent: Number(spentNanoUsd) / 5_000, leased: Number(leasedNanoUsd) / 5_000 };
}

/** A chat that is answered with one token: two of a batch's. */
async function ask(tag: string) {
  const body = { model: "chat", messages: [{ role: "user" as const, content: "hi" }], max_completion_tokens: 1 };
  const { response } = await client.chat.completions
    .create({ ...body, x_sim: { tokens: 1 } } as typeof body, { headers: { "x-weir-tags": tag } })
    .withResponse();
  return response;
}

async function uploaded(...bodies: object[]): Promise<string> {
  const lines = bodies.map((body, at) => ({
    custom_id: `request-${at}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { messages: [{ role: "user", content: "hi" }], ...body },
  }));
  const file = await toFile(Buffer.from(lines.map((line) => JSON.stringify(line)).join("\n")), "in.jsonl");
  return (await client.files.create({ file, purpose: "batch" })).id;
}

const makeBatch = (fileId: string, tag: string, metadata: Record<string, string> = { ends: "never" }, by = client) =>
  by.batches
    .create(
      { input_file_id: fileId, endpoint: "/v1/chat/completions", completion_window: "24h", metadata },
      { headers: { "x-weir-tags": tag } },
    )
    .withResponse();
const madeByProvider = () =>
  simulator.endpointCalls().filter(({ method, path }) => method === "POST" && path === "/batches").length;

test("fifty at once, among chats, on a budget for some of them: no more are made than it covers", async () => {
  const tag = await budget(1_000);
  const fileId = await uploaded(
    { model: "sim-large", max_completion_tokens: 20 },
    { model: "sim-large", max_completion_tokens: 10, n: 4 },
  );
  const before = madeByProvider();
  let isOver = false;
  const watching = (async () => {
    for (; !isOver; await new Promise((resolve) => setTimeout(resolve, 5))) {
      const { spent, leased } = await standing(tag);
      expect(spent + leased).toBeLessThanOrEqual(1_000);
    }
  })();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 50 }, (_, at) =>
      at % 5 === 0 ? Promise.all([ask(tag), makeBatch(fileId, tag)]) : makeBatch(fileId, tag),
    ),
  );
  isOver = true;
  await watching;
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") continue;
    expect(outcome.reason).toMatchObject({ status: 429, code: "insufficient_quota", type: "insufficient_quota" });
    expect(outcome.reason.headers.get("x-should-retry")).toBe("false");
  }
  const made = madeByProvider() - before;
  expect(made * 60).toBeLessThanOrEqual(1_000);
  // What chats had in hand has come back: nothing of the budget is lost.
  let more = 0;
  for (; ; more += 1) if ((await makeBatch(fileId, tag).catch(() => undefined)) === undefined) break;
  await vi.waitFor(async () => expect((await standing(tag)).leased).toBe((made + more) * 60), { timeout: 10_000 });
  const { spent } = await standing(tag);
  expect(1_000 - spent - (made + more) * 60).toBeLessThan(60);
});

test("it is set aside in every budget that is about it, or in none, with what is left and soft limits told", async () => {
  // Batches that are made before the other budget is known find room in this one, however many.
  const tag = await budget(100_000);
  serial += 1;
  await weir.clients.budgets.createBudget({
    budgetId: `budget-${serial}`,
    limitNanoUsd: 100n * 5_000n,
    window: { kind: WindowKind.ROLLING, span: { seconds: 3_600n } },
    scope: { tag, alias: "other", model: "sim/sim-known" },
    softPercents: [1],
  });
  const own = `job=${serial}`;
  const large = { model: "sim-large", max_tokens: 100 };
  const both = await uploaded(large, { model: "sim-known", max_tokens: 50 });
  const { response } = await vi.waitFor(
    async () => {
      const made = await makeBatch(both, tag);
      expect((await standing(own)).leased).toBe(50);
      return made;
    },
    { timeout: 10_000 },
  );
  expect(Number(response.headers.get("x-weir-budget-remaining-usd"))).toBeLessThanOrEqual(50 * 5e-6);
  const before = await standing(tag);
  const beyond = await uploaded(large, { model: "sim-known", max_tokens: 51 });
  await expect(makeBatch(beyond, tag)).rejects.toMatchObject({ status: 429, code: "insufficient_quota" });
  expect((await standing(own)).leased).toBe(50);
  expect((await standing(tag)).leased).toBeLessThanOrEqual(before.leased);
});

test("a soft limit that was crossed is told", async () => {
  const tag = await budget(100, {}, [1]);
  const fileId = await uploaded({ model: "sim-large", max_tokens: 10 });
  await vi.waitFor(async () => expect((await standing(tag)).spent).toBeGreaterThan(0), { timeout: 10_000 });
  const { response } = await makeBatch(fileId, tag);
  expect(response.headers.get("x-weir-warnings")).toMatch(/^budget_soft_limit budget-\d+ 1$/);
});

test("a line without a limit counts with the most that its model gives; where nobody knows that, it makes no batch on a budget", async () => {
  // As much as the batch may answer with, and the chat before it did.
  const tag = await budget(2_005 + 2);
  const known = await uploaded({ model: "sim-known", n: 2 }, { model: "sim-known", max_tokens: 5 });
  await makeBatch(known, tag);
  expect((await standing(tag)).leased).toBeGreaterThanOrEqual(2_005);
  const open = await uploaded({ model: "sim-large", max_tokens: 5 }, { model: "sim-large" });
  const before = madeByProvider();
  await expect(makeBatch(open, tag)).rejects.toMatchObject({ status: 400, param: "input_file_id" });
  await expect(makeBatch(open, tag)).rejects.toThrow(/line 2 .* name `max_completion_tokens`/);
  expect(madeByProvider()).toBe(before);
  await makeBatch(open, "job=nobody");
});

test("what is set aside for a batch that its provider does not make is free again", async () => {
  const tag = await budget(100);
  const fileId = await uploaded({ model: "sim-large", max_tokens: 80 });
  for (const status of ["400", "500"]) {
    await expect(makeBatch(fileId, tag, { fails: status })).rejects.toBeInstanceOf(OpenAI.APIError);
    await vi.waitFor(async () => expect((await standing(tag)).leased).toBeLessThan(20), { timeout: 10_000 });
  }
  await makeBatch(fileId, tag);
});

test("a batch whose client has left is put on record, and what is set aside for it with it", async () => {
  const tag = await budget(100);
  const fileId = await uploaded({ model: "sim-large", max_tokens: 80 });
  const before = madeByProvider();
  const leaving = new AbortController();
  const call = client.batches.create(
    {
      input_file_id: fileId,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
      metadata: { makes: "slowly" },
    },
    { headers: { "x-weir-tags": tag }, signal: leaving.signal },
  );
  const left = expect(call).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
  await vi.waitFor(() => expect(madeByProvider()).toBe(before + 1), { timeout: 5_000, interval: 2 });
  leaving.abort();
  await left;
  const known = async () => (await client.batches.list({ limit: 1 })).data[0]?.input_file_id;
  await vi.waitFor(async () => expect(await known()).toBe(fileId), { timeout: 5_000 });
  expect((await standing(tag)).leased).toBeGreaterThanOrEqual(80);
});

test("a price that says nothing of batches makes none, as no price makes no chat: an alias may allow it, but on no budget", async () => {
  const strict = await uploaded({ model: "dearer", max_tokens: 1 });
  const allowed = await uploaded({ model: "dear", max_tokens: 1 });
  const unpriced = { status: 400, code: "model_unpriced" };
  await expect(makeBatch(strict, "job=nobody")).rejects.toMatchObject(unpriced);
  await makeBatch(allowed, "job=nobody");
  const tag = await budget(1_000);
  await expect(makeBatch(allowed, tag)).rejects.toMatchObject(unpriced);
});

test("nobody tunes a model on a budget, since nobody knows what it costs", async () => {
  const file = await toFile(Buffer.from("{}"), "tune.jsonl");
  const { id: training_file } = await client.files.create({ file, purpose: "fine-tune" });
  const tune = (tag: string) =>
    client.fineTuning.jobs.create({ model: "chat", training_file }, { headers: { "x-weir-tags": tag } });
  const tag = await budget(1_000);
  await expect(tune(tag)).rejects.toMatchObject({ status: 400, code: "model_unpriced" });
  const { id } = await tune("job=nobody");
  const resume = client.fineTuning.jobs.resume(id, { headers: { "x-weir-tags": tag } });
  await expect(resume).rejects.toMatchObject({ status: 400, code: "model_unpriced" });
  await client.fineTuning.jobs.cancel(id, { headers: { "x-weir-tags": tag } });
});

test("all lines go where the batch goes", async () => {
  const fileId = await uploaded({ model: "sim-large", max_tokens: 1 });
  const elsewhere = client.batches.create({
    input_file_id: fileId,
    endpoint: "/v1/embeddings",
    completion_window: "24h",
  });
  await expect(elsewhere).rejects.toMatchObject({ status: 400, param: "endpoint" });
});
