import { get } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { imageBase64, formParts, speechBytes } from "@weir/simulator/endpoints";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { noBudgets } from "@weir/pool/testing/pool-under-test";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { batchInput, type Gateway, startGateway } from "./gateway.ts";

// OpenAI's own library against edge, router and pool, which meet over a link.

let gateway: Gateway;
let client: OpenAI;
/** Units for which money was set aside. */
const held: Readonly<Record<string, number>>[] = [];
beforeAll(async () => {
  gateway = await startGateway({
    budgets: {
      ...noBudgets,
      hold({ units = {} }) {
        held.push(units);
        return undefined;
      },
    },
  });
  client = clientOf(gateway.key);
});
afterAll(() => gateway.close());
beforeEach(() => {
  gateway.events.length = 0;
  held.length = 0;
});

const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 });
const lastCall = () => {
  const call = gateway.simulator.endpointCalls().at(-1);
  if (call === undefined) throw new Error("nothing reached the provider");
  return call;
};

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error("not within 5 s");
    await pause(5);
  }
}

describe("images", () => {
  test("are generated: the model is the target's, nothing else is changed, and usage is on record", async () => {
    const answer = await client.images.generate({ model: "my-model", prompt: "a weir", n: 2 });
    expect(answer.data?.map(({ b64_json }) => b64_json)).toEqual([imageBase64, imageBase64]);
    const { body, headers } = lastCall();
    expect(JSON.parse(body.toString())).toEqual({ model: "real-model", prompt: "a weir", n: 2 });
    expect(headers.authorization).toBe("Bearer sk-secret");
    expect(headers["x-stainless-lang"]).toBeUndefined();
    expect(headers["user-agent"]).toBe("weir");
    expect(gateway.events).toMatchObject([
      {
        alias: "my-model",
        target: { provider: "sim", model: "real-model" },
        principal: { tenant: "acme" },
        priceId: "sim/real-model@always",
        outcome: AttemptOutcome.COMPLETED,
        usageSource: UsageSource.REPORTED,
        usage: { inputTokens: 50, outputTokens: 1056, imageInputTokens: 0, imageOutputTokens: 1056 },
      },
    ]);
  });

  test("are generated where clients of Azure look, too", async () => {
    const azure = new OpenAI({ baseURL: `${gateway.url}/openai/v1`, apiKey: gateway.key, maxRetries: 0 });
    expect((await azure.images.generate({ model: "my-model", prompt: "a weir" })).data).toHaveLength(1);
    expect(lastCall().path).toBe("/images/generations");
  });

  test("come as a stream of partial images", async () => {
    const stream = await client.images.generate({
      model: "my-model",
      prompt: "a weir",
      stream: true,
      partial_images: 1,
    });
    const types: string[] = [];
    for await (const event of stream) types.push(event.type);
    expect(types).toEqual(["image_generation.partial_image", "image_generation.completed"]);
    expect(gateway.events[0]).toMatchObject({ stream: true, usage: { outputTokens: 1056 } });
  });

  test("are edited, the model's name being put in while the parts pass", async () => {
    const image = await toFile(Buffer.alloc(300_000, "pixel"), "a.png", { type: "image/png" });
    await client.images.edit({ model: "my-model", image, prompt: "more water", n: 3 });
    const { body, headers } = lastCall();
    const parts = formParts(headers, body);
    expect(parts.map(({ name, content }) => [name, content.length])).toEqual(
      expect.arrayContaining([
        ["image", 300_000],
        ["model", 10],
      ]),
    );
    expect(parts.find(({ name }) => name === "model")?.content.toString()).toBe("real-model");
    expect(headers["content-length"]).toBe(String(body.length));
    expect(gateway.events[0]).toMatchObject({ usage: { outputTokens: 1056 }, alias: "my-model" });
  });
});

describe("audio", () => {
  test("is spoken, and billed by characters where the provider says nothing", async () => {
    const answer = await client.audio.speech.create({ model: "my-model", voice: "alloy", input: "Grüezi 🌊" });
    expect(Buffer.from(await answer.arrayBuffer()).equals(speechBytes)).toBe(true);
    expect(answer.headers.get("content-type")).toBe("audio/mpeg");
    expect(gateway.events).toMatchObject([
      { usageSource: UsageSource.COUNTED, usage: { serverToolUses: { characters: 8 } } },
    ]);
    expect(gateway.events[0]?.usage?.inputTokens).toBeUndefined();
    expect(held).toEqual([{ characters: 8 }]);
  });

  test.each([1_000, 3_000_000])("of %d bytes is transcribed, the model coming after the file", async (bytes) => {
    const file = await toFile(Buffer.alloc(bytes, "sound"), "a.wav");
    const answer = await client.audio.transcriptions.create({ file, model: "my-model", response_format: "json" });
    expect(answer.text).toBe(`${bytes} bytes`);
    const { body, headers } = lastCall();
    const parts = formParts(headers, body);
    expect(parts.find(({ name }) => name === "model")?.content.toString()).toBe("real-model");
    expect(parts.find(({ name }) => name === "file")?.content.equals(Buffer.alloc(bytes, "sound"))).toBe(true);
    expect(gateway.events).toMatchObject([
      { usageSource: UsageSource.REPORTED, usage: { serverToolUses: { audio_seconds: 9 } } },
    ]);
    // Money for the sound that so many bytes may be, at the least quality; what was heard is what counts.
    expect(held[0]?.["audio_seconds"]).toBeGreaterThanOrEqual(bytes / 1_000);
  });
});

describe("moderations and rerank", () => {
  test("text is judged, with and without a model", async () => {
    expect((await client.moderations.create({ input: "hi" })).results).toHaveLength(1);
    expect(gateway.events[0]).toMatchObject({ alias: "", target: { provider: "sim", model: "moderations" } });
    await client.moderations.create({ model: "unpriced", input: "hi" });
    expect(JSON.parse(lastCall().body.toString())).toEqual({ model: "nobody-knows", input: "hi" });
  });

  test.each(["/v1/rerank", "/rerank", "/v2/rerank"])("documents are ranked at %s", async (path) => {
    const body = { model: "my-model", query: "q", documents: ["a", "b"] };
    const answer = await client.post<{ results: unknown[] }>(`${gateway.url}${path}`, { body });
    expect(answer.results).toHaveLength(1);
    expect(gateway.events).toMatchObject([{ usage: { serverToolUses: { search_units: 1 } } }]);
  });
});

describe("what providers keep", () => {
  const input = batchInput("real-model");
  const upload = async (by = client) => by.files.create({ file: await toFile(input, "in.jsonl"), purpose: "batch" });

  test("a file is made, read, listed and deleted, by its tenant", async () => {
    const file = await upload();
    expect(file).toMatchObject({ object: "file", purpose: "batch", bytes: input.length });
    expect(await client.files.retrieve(file.id)).toMatchObject({ id: file.id });
    expect(await (await client.files.content(file.id)).text()).toBe(input.toString());
    const listed = (await client.files.list()).data.map(({ id }) => id);
    expect(listed).toContain(file.id);
    expect(await client.files.delete(file.id)).toMatchObject({ deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404 });
    expect((await client.files.list()).data.map(({ id }) => id)).not.toContain(file.id);
  });

  test("another tenant's is not there, whatever is asked, and the provider is not asked", async () => {
    const file = await upload();
    const store = await client.vectorStores.create({ name: "s" });
    const stranger = clientOf(gateway.addKey("globex"));
    const before = gateway.simulator.endpointCalls().length;
    const missing = { status: 404 };
    await expect(stranger.files.retrieve(file.id)).rejects.toMatchObject(missing);
    await expect(stranger.files.content(file.id)).rejects.toMatchObject(missing);
    await expect(stranger.files.delete(file.id)).rejects.toMatchObject(missing);
    await expect(stranger.vectorStores.retrieve(store.id)).rejects.toMatchObject(missing);
    await expect(stranger.vectorStores.search(store.id, { query: "q" })).rejects.toMatchObject(missing);
    await expect(
      stranger.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" }),
    ).rejects.toMatchObject(missing);
    await expect(stranger.vectorStores.create({ file_ids: [file.id] })).rejects.toMatchObject(missing);
    await expect(stranger.fineTuning.jobs.create({ model: "my-model", training_file: file.id })).rejects.toMatchObject(
      missing,
    );
    expect((await stranger.files.list()).data).toEqual([]);
    expect((await stranger.vectorStores.list()).data).toEqual([]);
    expect(gateway.simulator.endpointCalls()).toHaveLength(before);
  });

  test.each(["..", "..%2F..%2Fvs_other", "%2e%2e", "a%00b", "a%20b"])("an id is no path: %s", async (id) => {
    const store = await client.vectorStores.create({ name: "s" });
    const before = gateway.simulator.endpointCalls().length;
    // By hand, since libraries and fetch resolve paths themselves.
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const path = `/v1/vector_stores/${store.id}/file_batches/${id}/files`;
      get({ port: gateway.port, path, headers: { authorization: `Bearer ${gateway.key}` } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on("error", reject);
    });
    expect(status).toBe(404);
    expect(gateway.simulator.endpointCalls()).toHaveLength(before);
  });

  test("a file that comes in parts is its tenant's once it is whole, and so are its upload and its parts", async () => {
    const [first, second] = [Buffer.alloc(70_000, "a"), Buffer.from("b\n")];
    const upload = await client.uploads.create({
      filename: "in.jsonl",
      purpose: "user_data",
      bytes: 70_002,
      mime_type: "application/jsonl",
    });
    const parts = [];
    for (const data of [first, second]) {
      parts.push(await client.uploads.parts.create(upload.id, { data: await toFile(data, "part") }));
    }
    const stranger = clientOf(gateway.addKey("uploads"));
    const missing = { status: 404 };
    await expect(stranger.uploads.parts.create(upload.id, { data: await toFile(first, "p") })).rejects.toMatchObject(
      missing,
    );
    await expect(stranger.uploads.complete(upload.id, { part_ids: [] })).rejects.toMatchObject(missing);
    await expect(stranger.uploads.cancel(upload.id)).rejects.toMatchObject(missing);
    const { file } = await client.uploads.complete(upload.id, { part_ids: parts.map(({ id }) => id) });
    if (file == null) throw new Error("no file");
    const content = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
    expect(content.equals(Buffer.concat([first, second]))).toBe(true);
    expect((await client.files.list()).data.map(({ id }) => id)).toContain(file.id);
    await expect(stranger.files.content(file.id)).rejects.toMatchObject(missing);
    const other = await client.uploads.create({
      filename: "b",
      purpose: "user_data",
      bytes: 1,
      mime_type: "text/plain",
    });
    expect(await client.uploads.cancel(other.id)).toMatchObject({ status: "cancelled" });
  });

  test("a chat names its own tenant's files, and nobody else's", async () => {
    const file = await upload();
    const ask = (by: OpenAI, file_id: string) =>
      by.chat.completions.create({
        model: "my-model",
        messages: [{ role: "user", content: [{ type: "file", file: { file_id } }] }],
      });
    expect((await ask(client, file.id)).choices).toHaveLength(1);
    const before = gateway.simulator.attempts().length;
    const stranger = clientOf(gateway.addKey("chats"));
    await expect(ask(stranger, file.id)).rejects.toMatchObject({ status: 404 });
    await expect(ask(client, "file-nobodys")).rejects.toMatchObject({ status: 404 });
    expect(gateway.simulator.attempts()).toHaveLength(before);
  });

  test("lists come page by page", async () => {
    const lister = clientOf(gateway.addKey("pages"));
    const made: string[] = [];
    for (let count = 0; count < 5; count += 1) made.push((await upload(lister)).id);
    const listed: string[] = [];
    for await (const file of lister.files.list({ limit: 2 })) listed.push(file.id);
    expect(listed).toEqual(made.toReversed());
  });

  test("a batch is made of a file, and what it wrote is its tenant's", async () => {
    const file = await upload();
    const ask = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" } as const;
    const batch = await client.batches.create(ask);
    const done = await client.batches.retrieve(batch.id);
    expect(done.status).toBe("completed");
    expect(await (await client.files.content(done.output_file_id ?? "")).text()).toBe("{}\n");
    expect((await client.batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
    expect((await client.batches.cancel(batch.id)).status).toBe("cancelling");
  });

  test("a model is tuned by its alias, where its file is", async () => {
    const file = await upload();
    const job = await client.fineTuning.jobs.create({ model: "my-model", training_file: file.id });
    expect(job.model).toBe("real-model");
    expect((await client.fineTuning.jobs.listEvents(job.id)).data).toEqual([]);
    expect((await client.fineTuning.jobs.cancel(job.id)).status).toBe("cancelling");
    await expect(client.fineTuning.jobs.create({ model: "wrong-kind", training_file: file.id })).rejects.toMatchObject({
      status: 400,
      param: "model",
    });
  });

  test("a vector store takes files, and is searched", async () => {
    const file = await upload();
    const store = await client.vectorStores.create({ name: "s", file_ids: [file.id] });
    expect(await client.vectorStores.files.create(store.id, { file_id: file.id })).toMatchObject({ id: file.id });
    expect((await client.vectorStores.search(store.id, { query: "q" })).data).toEqual([]);
    expect(await client.vectorStores.delete(store.id)).toMatchObject({ deleted: true });
  });

  test("every call that reached the provider is on record, once", async () => {
    const before = gateway.simulator.endpointCalls().length;
    const file = await upload();
    await client.files.retrieve(file.id);
    expect(gateway.events).toHaveLength(gateway.simulator.endpointCalls().length - before);
    expect(gateway.events[0]).toMatchObject({ target: { provider: "sim", model: "files" }, priceId: "" });
    expect(gateway.events.map(({ attemptId }) => attemptId)).toEqual(
      gateway.simulator
        .endpointCalls()
        .slice(before)
        .map(({ headers }) => headers["x-client-request-id"]),
    );
  });
});

describe("refusals", () => {
  const generate = (by: OpenAI, model: string) => by.images.generate({ model, prompt: "p" });

  test("a model without a price is refused, one beyond the key's scope, and one that nobody serves", async () => {
    await expect(generate(client, "unpriced")).rejects.toMatchObject({ status: 400, code: "model_unpriced" });
    await expect(generate(client, "none")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
    await expect(generate(client, "wrong-kind")).rejects.toMatchObject({ status: 400 });
    const scoped = clientOf(gateway.addKey("acme", { models: ["other"] }));
    await expect(generate(scoped, "my-model")).rejects.toMatchObject({ status: 403, code: "model_forbidden" });
    expect(gateway.events).toEqual([]);
  });

  test("a key without the endpoint is refused", async () => {
    const scoped = clientOf(gateway.addKey("acme", { endpoints: ["chat", "images"] }));
    await expect(scoped.files.list()).rejects.toMatchObject({ status: 403 });
    await generate(scoped, "my-model");
  });

  test("a key whose scope names models makes no batch, unless its endpoints name them", async () => {
    const file = await client.files.create({
      file: await toFile(batchInput("real-model"), "b.jsonl"),
      purpose: "batch",
    });
    const ask = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" } as const;
    const asked = gateway.simulator.endpointCalls().length;
    const confined = clientOf(gateway.addKey("acme", { models: ["my-model"] }));
    await expect(confined.batches.create(ask)).rejects.toMatchObject({ status: 403 });
    await expect(confined.fineTuning.jobs.create({ model: "my-model", training_file: file.id })).rejects.toMatchObject({
      status: 403,
    });
    expect(gateway.simulator.endpointCalls().length).toBe(asked);
    await generate(confined, "my-model");
    const trusted = clientOf(gateway.addKey("acme", { models: ["my-model"], endpoints: ["batches"] }));
    expect((await trusted.batches.create(ask)).input_file_id).toBe(file.id);
  });

  test("a body without a model is refused where a model is billed", async () => {
    await expect(client.images.generate({ prompt: "p" })).rejects.toMatchObject({ status: 400, param: "model" });
    const response = await fetch(`${gateway.url}/v1/audio/transcriptions`, {
      method: "POST",
      headers: { authorization: `Bearer ${gateway.key}`, "content-type": "multipart/form-data; boundary=B" },
      body: '--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--B--\r\n',
    });
    expect(response.status).toBe(400);
    expect(gateway.events).toEqual([]);
  });

  test("what the provider refuses is told in its own words", async () => {
    const file = await client.files.create({ file: await toFile(Buffer.from("x"), "x"), purpose: "user_data" });
    await fetch(`${gateway.simulatorUrl}/v1/files/${file.id}`, { method: "DELETE" });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404, message: "404 No such object." });
    expect(gateway.events.at(-1)?.outcome).toBe(AttemptOutcome.REJECTED);
    expect((await client.files.list()).data.map(({ id }) => id)).not.toContain(file.id);
  });

  test("a target that is down gives way to the next, with the same body", async () => {
    await generate(client, "second-choice");
    expect(gateway.events).toMatchObject([
      { target: { provider: "down" }, outcome: AttemptOutcome.FAILED },
      { target: { provider: "sim" }, outcome: AttemptOutcome.COMPLETED },
    ]);
  });

  test("bodies that are hostile are refused at once, and hold nothing", async () => {
    const post = async (contentType: string, body: string) => {
      const response = await fetch(`${gateway.url}/v1/audio/transcriptions`, {
        method: "POST",
        headers: { authorization: `Bearer ${gateway.key}`, "content-type": contentType },
        body,
      });
      return [response.status, ((await response.json()) as { error: { type: string } }).error.type];
    };
    const refused = [400, "invalid_request_error"];
    expect(await post("multipart/form-data; boundary=B", "x".repeat(3_000_000))).toEqual(refused);
    expect(await post(`multipart/form-data; boundary=${"x".repeat(200)}`, "--x")).toEqual(refused);
    const headers = "X-Long: y\r\n".repeat(2_000);
    expect(await post("multipart/form-data; boundary=B", `--B\r\n${headers}\r\n\r\n--B--`)).toEqual(refused);
    expect(await post("application/json", "{}")).toEqual([415, "invalid_request_error"]);
    expect(gateway.events).toEqual([]);
  });

  test("a client that leaves in the middle of its upload ends the call, which is settled", async () => {
    const hangUp = new AbortController();
    const endless = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await pause(5);
        controller.enqueue(Buffer.alloc(20_000, "x"));
      },
    });
    const head = Buffer.from(
      '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nmy-model\r\n--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
    );
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(head);
        const reader = endless.getReader();
        for (let count = 0; count < 1_000 && !hangUp.signal.aborted; count += 1) {
          const { value } = await reader.read();
          if (value !== undefined) controller.enqueue(value);
        }
      },
    });
    const answer = fetch(`${gateway.url}/v1/audio/transcriptions`, {
      method: "POST",
      headers: { authorization: `Bearer ${gateway.key}`, "content-type": "multipart/form-data; boundary=B" },
      body,
      duplex: "half",
      signal: hangUp.signal,
    }).catch((thrown: unknown) => thrown);
    const open = () => gateway.pool.status().openAttempts;
    await until(() => open() === 1);
    hangUp.abort();
    expect(await answer).toBeInstanceOf(Error);
    await until(() => open() === 0);
    expect(gateway.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED }]);
  });
});
