import { once } from "node:events";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { processes } from "../runners.ts";
import type { Weir } from "./weir.ts";

// One call of each kind through edge, router, pool and metering as processes of their own, and what the ledger has of it.

let weir: Weir;
let client: OpenAI;
beforeAll(async () => {
  weir = await processes.start({
    config: (simulatorUrl) => ({
      discovery: { environment: false, local: false, demo: false },
      providers: { sim: { kind: "openai", base_url: `${simulatorUrl}/v1`, api_key: "sk-secret" } },
      prices: [
        { provider: "sim", model: "real-model", input_usd_per_million: "1", output_usd_per_million: "2" },
        {
          provider: "sim",
          model: "by-seconds",
          input_usd_per_million: "0",
          output_usd_per_million: "0",
          tool_usd_per_thousand: { audio_seconds: "0.1" },
        },
      ],
      aliases: {
        "my-model": { targets: [{ provider: "sim", model: "real-model" }] },
        hear: { targets: [{ provider: "sim", model: "by-seconds" }] },
      },
    }),
  });
  client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: weir.key, maxRetries: 0 });
});
afterAll(() => weir?.stop());

/** The one row of the ledger of a model that is new since `before`; waits for it. */
async function newRow(before: number) {
  const end = performance.now() + 20_000;
  for (;;) {
    const rows = await weir.ledger.rows();
    if (rows.length > before) return rows;
    if (performance.now() > end) throw new Error("the ledger has no new row");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("an image, a transcription, a file and a session reach the provider, and the ledger", async () => {
  let count = (await weir.ledger.rows()).length;
  await client.images.generate({ model: "my-model", prompt: "a weir" });
  const images = await newRow(count);
  count = images.length;
  expect(images.at(-1)).toMatchObject({
    alias: "my-model",
    model: "real-model",
    usageSource: "reported",
    inputTokens: 50,
    outputTokens: 1056,
    costNanoUsd: 50n * 1_000n + 1_056n * 2_000n,
  });

  const file = await toFile(Buffer.alloc(2_000_000, "sound"), "a.wav");
  expect((await client.audio.transcriptions.create({ file, model: "hear" })).text).toBe("2000000 bytes");
  const audio = (await newRow(count)).find(({ alias }) => alias === "hear");
  count += 1;
  expect(audio).toMatchObject({ model: "by-seconds", costNanoUsd: 900_000n });

  const kept = await client.files.create({ file: await toFile(Buffer.from("{}\n"), "in.jsonl"), purpose: "user_data" });
  expect(await (await client.files.content(kept.id)).text()).toBe("{}\n");
  expect((await client.files.list()).data.map(({ id }) => id)).toEqual([kept.id]);
  const rows = await newRow(count + 2);
  expect(rows.filter(({ model }) => model === "files")).toHaveLength(3);
  count = rows.length;

  const socket = new WebSocket(`${weir.url.replace("http", "ws")}/v1/realtime?model=my-model`, {
    headers: { authorization: `Bearer ${weir.key}` },
  });
  await once(socket, "open");
  const done = new Promise<void>((resolve) => {
    socket.on("message", (data) => {
      if ((JSON.parse((data as Buffer).toString()) as { type: string }).type === "response.done") resolve();
    });
  });
  socket.send(JSON.stringify({ type: "response.create" }));
  await done;
  socket.close();
  const session = (await newRow(count)).find(({ inputTokens }) => inputTokens === 10);
  expect(session).toMatchObject({ alias: "my-model", outputTokens: 5, outcome: "completed" });
});
