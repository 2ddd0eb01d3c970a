import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { batchInput, type Gateway, startGateway } from "./gateway.ts";

// What the input file of a batch names is the caller's to name: OpenAI's library, edge, router, pool and metering before the simulator.

let gateway: Gateway;
let client: OpenAI;
beforeAll(async () => {
  gateway = await startGateway();
  client = clientOf(gateway.key);
});
afterAll(() => gateway.close());

const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 });
const uploaded = async (content: Buffer, by = client) =>
  by.files.create({ file: await toFile(content, "in.jsonl"), purpose: "batch" });
const batchOf = (id: string, by = client) =>
  by.batches.create({ input_file_id: id, endpoint: "/v1/chat/completions", completion_window: "24h" });
const filesAtProvider = () =>
  gateway.simulator
    .endpointCalls()
    .filter(({ method, path, body }) => `${method} ${path}` === "POST /files" && body.length > 0).length;

const naming = (...ids: string[]) =>
  Buffer.from(
    ids
      .map((file_id) =>
        JSON.stringify({ custom_id: "a", body: { model: "real-model", input: [{ type: "input_file", file_id }] } }),
      )
      .join("\n"),
  );

test("a batch is made of models that aliases of the caller's lead to, by the names that their provider has", async () => {
  const file = await uploaded(batchInput("real-model", "second-model", "real-model"));
  expect((await batchOf(file.id)).input_file_id).toBe(file.id);
});

test.each([
  ["an alias", "my-model", 400, "knows it as `real-model`: write that"],
  ["an alias that leads to another provider", "elsewhere", 404, "no alias leads"],
  ["a model that no alias leads to", "real-model-pro", 404, "no alias leads"],
])("%s in a line makes no batch, and the line is told", async (_name, model, status, text) => {
  const file = await uploaded(batchInput("real-model", model));
  const before = gateway.simulator.endpointCalls().length;
  await expect(batchOf(file.id)).rejects.toMatchObject({ status, param: "input_file_id" });
  await expect(batchOf(file.id)).rejects.toThrow(/Line 2 of the batch's input file/);
  await expect(batchOf(file.id)).rejects.toThrow(text);
  expect(gateway.simulator.endpointCalls()).toHaveLength(before);
});

test("a key makes batches of the models in its scope only, whoever of its tenant uploaded the file", async () => {
  const endpoints = ["batches"];
  const file = await uploaded(batchInput("real-model", "second-model"));
  const one = clientOf(gateway.addKey("acme", { models: ["my-model"], endpoints }));
  await expect(batchOf(file.id, one)).rejects.toMatchObject({ status: 403, code: "model_forbidden" });
  await expect(batchOf(file.id, one)).rejects.toThrow(/Line 2 .* may not use/);
  const both = clientOf(gateway.addKey("acme", { models: ["my-model", "second"], endpoints }));
  expect((await batchOf(file.id, both)).input_file_id).toBe(file.id);
});

test("what a line names must be its tenant's; the upload ends with the line's number, and the provider has no file", async () => {
  const own = await uploaded(batchInput("real-model"));
  expect((await uploaded(naming(own.id))).id).toBeDefined();
  const stranger = clientOf(gateway.addKey("globex"));
  const before = filesAtProvider();
  await expect(uploaded(naming("file-nobodys"))).rejects.toMatchObject({ status: 400, param: "file" });
  const theirs = await uploaded(batchInput("real-model"), stranger);
  await expect(uploaded(naming(own.id, theirs.id))).rejects.toThrow(/Line 2 .* is not there/);
  expect(filesAtProvider()).toBe(before + 1);
});

test.each(["before", "behind"])("a file is refused while it is uploaded, its purpose standing %s it", async (where) => {
  const long = Buffer.concat([...Array<Buffer>(20_000).fill(batchInput("real-model")), Buffer.from("{}\n")]);
  const purpose = '--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n';
  const file = '--B\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n';
  const parts = where === "before" ? [purpose, file, long, "\r\n--B--\r\n"] : [file, long, `\r\n${purpose}--B--\r\n`];
  const before = filesAtProvider();
  const answer = await fetch(`${gateway.url}/v1/files`, {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.key}`, "content-type": "multipart/form-data; boundary=B" },
    body: Buffer.concat(parts.map((part) => Buffer.from(part))),
  });
  expect([answer.status, await answer.json()]).toMatchObject([
    400,
    { error: { param: "file", message: "Line 20001 of the batch's input file has no `body` that is an object." } },
  ]);
  expect(filesAtProvider()).toBe(before);
});

test("what was not uploaded as a batch's input is none: another purpose, parts, a file of before, a place elsewhere", async () => {
  const file = await client.files.create({
    file: await toFile(batchInput("real-model"), "in.jsonl"),
    purpose: "user_data",
  });
  const refused = { status: 400, param: "input_file_id" };
  await expect(batchOf(file.id)).rejects.toMatchObject(refused);
  await expect(
    client.uploads.create({ filename: "b", purpose: "batch", bytes: 1, mime_type: "text/plain" }),
  ).rejects.toMatchObject({ status: 400, param: "purpose" });
  const before = await uploaded(batchInput("real-model"));
  await gateway.query("update resources set batch_input = null where resource_id = $1", [before.id]);
  await expect(batchOf(before.id)).rejects.toMatchObject(refused);
  const body = {
    input_blob: "https://example.com/in.jsonl",
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  };
  await expect(client.post("/batches", { body })).rejects.toMatchObject(refused);
  await expect(client.post("/batches", { body: { endpoint: "/v1/chat/completions" } })).rejects.toMatchObject(refused);
});

test("files for other purposes may hold anything", async () => {
  const file = await client.files.create({ file: await toFile(Buffer.from("{}\nno json"), "x"), purpose: "user_data" });
  expect(await (await client.files.content(file.id)).text()).toBe("{}\nno json");
});
