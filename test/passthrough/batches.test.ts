import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { batchInput, type Gateway, startGateway } from "./gateway.ts";

// What batches used comes into the ledger, whether or not anybody looks at them again: OpenAI's library, edge, router, pool and
// metering before the simulator.

let gateway: Gateway;
let client: OpenAI;
beforeAll(async () => {
  gateway = await startGateway();
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.key, maxRetries: 0 });
});
afterAll(() => gateway.close());
beforeEach(() => gateway.query("delete from resources; delete from transfers; delete from attempts"));

async function createBatch(metadata: Record<string, string>, by = client) {
  const file = await by.files.create({ file: await toFile(batchInput("real-model"), "in.jsonl"), purpose: "batch" });
  return by.batches.create(
    { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", metadata },
    { headers: { "x-weir-tags": "team=search" } },
  );
}

const rows = () => gateway.query("select * from attempts order by provider_reply_id");
const isSettled = async (id: string) =>
  (await gateway.query("select 1 from resources where resource_id = $1 and settle_time is not null", [id])).length ===
  1;

async function settled(...ids: string[]): Promise<void> {
  gateway.keepBatches();
  for (const id of ids) {
    for (const end = performance.now() + 5_000; !(await isSettled(id)); await pause(10)) {
      if (performance.now() > end) throw new Error("not within 5 s");
    }
  }
}

/** As if a pool had been killed before it could say that the batch is settled. */
const forgetSettlement = () => gateway.query("update resources set settle_time = null, look_time = now()");

test.each([
  [
    "that its object reports",
    "object",
    { input_tokens: "400000", cached_input_tokens: "100000", output_tokens: "50000" },
    "205000",
  ],
  ["that the lines of its output report", "lines", { input_tokens: "42", output_tokens: "9" }, "30"],
])(
  "what a batch used, %s, is in the ledger once, at batch prices, for whoever made it",
  async (_name, usage, counts, cost) => {
    const batch = await createBatch({ usage });
    await settled(batch.id);
    const expected = {
      tenant: "acme",
      tags: { team: "search" },
      provider: "sim",
      model: "real-model-2026-01-31",
      provider_reply_id: batch.id,
      outcome: "completed",
      usage_source: "reported",
      service_tier: "batch",
      pricing: "priced",
      cost_nano_usd: cost,
      charge_nano_usd: cost,
      ...counts,
    };
    expect(await rows()).toMatchObject([expected]);
    await forgetSettlement();
    await settled(batch.id);
    expect(await rows()).toMatchObject([expected]);
    expect(await gateway.query("select * from conflicts")).toEqual([]);
  },
);

test("a batch of another tenant is booked to that one, and one that goes on to nobody", async () => {
  const other = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.addKey("rival"), maxRetries: 0 });
  const going = await createBatch({ ends: "never" });
  const theirs = await createBatch({ usage: "object" }, other);
  await settled(theirs.id);
  expect((await rows()).map(({ tenant }) => tenant)).toEqual(["rival"]);
  expect(await isSettled(going.id)).toBe(false);
});

test("what was used for a batch that was cut off counts; what nobody reports is unknown, and not nothing", async () => {
  const cut = await createBatch({ usage: "object", ends: "cancelled" });
  const silent = await createBatch({ usage: "nowhere" });
  await settled(cut.id, silent.id);
  expect(await rows()).toMatchObject([
    { provider_reply_id: cut.id, outcome: "cancelled", input_tokens: "400000", cost_nano_usd: "205000" },
    { provider_reply_id: silent.id, input_tokens: null, cost_nano_usd: null, model: "batches" },
  ]);
});

test("one that its provider has lost is not forgotten before its loss is in the ledger", async () => {
  const batch = await createBatch({});
  gateway.simulator.forgetEndpointObjects();
  expect((await client.batches.list()).data).toEqual([]);
  await settled(batch.id);
  expect(await rows()).toMatchObject([{ provider_reply_id: batch.id, outcome: "lost", cost_nano_usd: null }]);
  await client.batches.list();
  expect(await gateway.query("select 1 from resources where resource_id = $1", [batch.id])).toEqual([]);
});
