import { createFaultyListener } from "@weir/simulator/faulty-listener";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Weir } from "../e2e/weir.ts";
import { processes } from "../runners.ts";

// A process that is killed while it makes a response in the background, or answers under an idempotency key.

let weir: Weir;
let hanging: Awaited<ReturnType<typeof createFaultyListener>>;

beforeAll(async () => {
  hanging = await createFaultyListener("hang");
  weir = await processes.start({
    config: (simulatorUrl) => ({
      edge: { responses: { lease: "2s" } },
      discovery: { environment: false, local: false, demo: false },
      providers: {
        hanging: { kind: "openai", base_url: `http://${hanging.address}/v1` },
        sim: { kind: "openai", base_url: `${simulatorUrl}/v1` },
      },
      aliases: {
        silent: { targets: [{ provider: "hanging", model: "m" }], allow_unpriced: true },
        chat: { targets: [{ provider: "sim", model: "sim-chat" }], allow_unpriced: true },
      },
    }),
  });
});
afterAll(async () => {
  await weir.stop();
  await hanging.close();
});

test("kill -9 of the edge: what was stored is there, and what it was making has failed when its lease ran out", async () => {
  const openai = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: weir.key, maxRetries: 0 });
  const kept = await openai.responses.create({ model: "chat", input: "hi" });
  const making = await openai.responses.create({ model: "silent", input: "hi", background: true });
  expect(await openai.responses.retrieve(making.id)).toMatchObject({ status: "in_progress" });
  weir.kill("edge");
  const found = await vi.waitUntil(
    async () => {
      // Nobody answers before the edge is started again.
      const response = await openai.responses.retrieve(making.id).catch(() => undefined);
      return response?.status === "failed" ? response : undefined;
    },
    { timeout: 30_000, interval: 100 },
  );
  expect(found).toMatchObject({ id: making.id, error: { code: "server_error" }, output: [], background: true });
  expect(await openai.responses.retrieve(kept.id)).toEqual(kept);
  const next = await openai.responses.create({ model: "chat", input: "on", previous_response_id: kept.id });
  expect(next.status).toBe("completed");
});

test("kill -9 of the edge: a request under an idempotency key is refused until the claim's lease has run out, then answered once", async () => {
  const ask = async () => {
    const response = await fetch(`${weir.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json", "idempotency-key": "k-1" },
      body: JSON.stringify({ model: "chat", messages: [{ role: "user", content: "hi" }] }),
    });
    return {
      status: response.status,
      replayed: response.headers.get("idempotency-replayed"),
      text: await response.text(),
    };
  };
  const served = () => weir.simulator.counts().attempts;
  const before = served();
  weir.simulator.script({ headMs: 600_000 }, { times: 1 });
  const broken = expect(ask()).rejects.toThrow("fetch failed");
  await vi.waitUntil(() => weir.simulator.counts().open === 1, { timeout: 10_000 });
  weir.kill("edge");
  await broken;
  await weir.ready();
  expect(await ask()).toMatchObject({ status: 409, text: expect.stringContaining("idempotency_key_in_use") });
  const answered = await vi.waitUntil(
    async () => {
      const answer = await ask();
      return answer.status === 409 ? undefined : answer;
    },
    { timeout: 60_000, interval: 500 },
  );
  expect(answered).toMatchObject({ status: 200, replayed: null });
  expect(await ask()).toEqual({ ...answered, replayed: "true" });
  expect(served() - before).toBe(2);
}, 120_000);
