import { operations } from "@weir/edge/routes/passthrough/operations";
import { afterAll, beforeAll, expect, test } from "vitest";
import { batchInput, type Gateway, startGateway } from "../passthrough/gateway.ts";
import { examplePath } from "./example-path.ts";

// Keys that are confined to some of their tenant's collections, at every route and in every dialect that can name one. What
// routes there are is read from the edge's own table.

let gateway: Gateway;
let whole: string;
let confined: string;
let own: string;
let other: string;

beforeAll(async () => {
  gateway = await startGateway();
  whole = gateway.addKey("acme");
  own = await makeStore();
  other = await makeStore();
  confined = gateway.addKey("acme", { collections: [own] });
}, 60_000);

afterAll(() => gateway.close());

async function call(key: string, method: string, path: string, body?: unknown) {
  const isForm = body instanceof FormData;
  const response = await fetch(`${gateway.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(!isForm && { "content-type": "application/json" }) },
    signal: AbortSignal.timeout(10_000),
    ...(body !== undefined && { body: isForm ? body : JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

async function makeStore(): Promise<string> {
  const { text } = await call(whole, "POST", "/v1/vector_stores", { name: "a handbook" });
  return (JSON.parse(text) as { id: string }).id;
}

const anonymous = (text: string, id: string) => text.replaceAll(id, "ID").replaceAll(/req_[0-9a-f]{32}/g, "REQUEST");

test("a collection outside of the key's scope is not there at any route that names one, and its provider is not asked", async () => {
  const routes = operations.filter(({ path }) => path.includes("{store_id}"));
  expect(routes.length).toBeGreaterThan(10);
  const asked = gateway.simulator.endpointCalls().length;
  for (const { method, path, body } of routes) {
    const sent = body === "none" ? undefined : {};
    const told = [];
    for (const id of [other, "vs_nosuch"]) {
      const { status, text } = await call(confined, method, `/v1${examplePath(path, id)}`, sent);
      told.push(`${status} ${anonymous(text, id)}`);
    }
    expect(told[0], `${method} ${path}`).toBe(told[1]);
    expect(told[0]).toMatch(/^404 /);
  }
  expect(gateway.simulator.endpointCalls().length).toBe(asked);
});

test("those inside of it are read, searched and changed, and are all that its lists have", async () => {
  const { text } = await call(whole, "POST", "/v1/files", upload("assistants", Buffer.from("a text")));
  const { id: file } = JSON.parse(text) as { id: string };
  for (const [method, path, body] of [
    ["GET", `/v1/vector_stores/${own}`, undefined],
    ["POST", `/v1/vector_stores/${own}`, { name: "another" }],
    ["POST", `/v1/vector_stores/${own}/search`, { query: "leave" }],
    ["POST", `/v1/vector_stores/${own}/files`, { file_id: file }],
  ] as const) {
    expect((await call(confined, method, path, body)).status, `${method} ${path}`).toBe(200);
  }
  const listed = await call(confined, "GET", "/v1/vector_stores?limit=1");
  expect(JSON.parse(listed.text)).toMatchObject({ data: [{ id: own }], has_more: false });
  expect((await call(confined, "GET", `/v1/vector_stores?after=${other}`)).status).toBe(404);
  const all = await call(whole, "GET", "/v1/vector_stores");
  expect((JSON.parse(all.text) as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual([other, own]);
});

test("it makes no others", async () => {
  const { status, text } = await call(confined, "POST", "/v1/vector_stores", { name: "mine" });
  expect([status, JSON.parse(text)]).toMatchObject([403, { error: { code: "forbidden" } }]);
  const every = gateway.addKey("acme", { collections: ["*"] });
  const made = await call(every, "POST", "/v1/vector_stores", { name: "mine" });
  const { id } = JSON.parse(made.text) as { id: string };
  expect((await call(every, "DELETE", `/v1/vector_stores/${id}`)).status).toBe(200);
});

test("no dialect asks a model about a collection outside of it", async () => {
  const model = "my-model";
  const search = (id: string) => ({ type: "file_search", vector_store_ids: [id] });
  const canonical = (id: string) => ({ server: { type: "file_search", settings: { vector_store_ids: [id] } } });
  const messages = [{ role: "user", content: "hi" }];
  const parts = { contents: [{ role: "user", parts: [{ text: "hi" }] }] };
  const calls: readonly (readonly [path: string, body: (id: string) => object])[] = [
    ["/v1/responses", (id) => ({ model, input: "hi", tools: [search(id)], store: false })],
    ["/v1/responses", (id) => ({ model, input: "hi", tools: [search(id)], store: false, stream: true })],
    ["/v1/chat/completions", (id) => ({ model, messages, tools: [search(id)] })],
    ["/v1/messages", (id) => ({ model, max_tokens: 9, messages, tools: [search(id)] })],
    ["/v1/messages/count_tokens", (id) => ({ model, messages, tools: [search(id)] })],
    [`/v1beta/models/${model}:generateContent`, (id) => ({ ...parts, tools: [search(id)] })],
    [
      `/v1/models/${model}:generate`,
      (id) => ({ messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }], tools: [canonical(id)] }),
    ],
  ];
  for (const [path, body] of calls) {
    const { status, text } = await call(confined, "POST", path, body(other));
    expect([status, path], text).toEqual([404, path]);
    const { status: allowed } = await call(confined, "POST", path, body(own));
    expect([404, 403], path).not.toContain(allowed);
  }
});

test("another scope holds at once, also for what was named a moment ago", async () => {
  const key = gateway.addKey("acme", { collections: [own] });
  const ask = async (id: string) => {
    const tools = [{ type: "file_search", vector_store_ids: [id] }];
    return (await call(key, "POST", "/v1/responses", { model: "my-model", input: "hi", tools })).status !== 404;
  };
  const read = async (id: string) => (await call(key, "GET", `/v1/vector_stores/${id}`)).status !== 404;
  expect([await ask(own), await read(own), await ask(other), await read(other)]).toEqual([true, true, false, false]);
  gateway.confine(key, { collections: [other] });
  await expect.poll(() => read(other), { timeout: 1_000 }).toBe(true);
  expect([await ask(own), await read(own), await ask(other)]).toEqual([false, false, true]);
});

function upload(purpose: string, content: Buffer): FormData {
  const form = new FormData();
  form.set("purpose", purpose);
  form.set("file", new Blob([new Uint8Array(content)]), "a.jsonl");
  return form;
}

test("no batch is made whose input names a collection outside of the key's scope, whoever uploaded it", async () => {
  const tools = [{ type: "file_search", vector_store_ids: [other] }];
  const line = {
    custom_id: "1",
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "real-model", messages: [{ role: "user", content: "hi" }], max_tokens: 9, tools },
  };
  const naming = () => upload("batch", Buffer.from(`${batchInput("real-model").toString()}${JSON.stringify(line)}\n`));
  expect((await call(confined, "POST", "/v1/files", naming())).status).toBe(400);
  const { text } = await call(whole, "POST", "/v1/files", naming());
  const { id } = JSON.parse(text) as { id: string };
  const batch = { input_file_id: id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  expect((await call(confined, "POST", "/v1/batches", batch)).status).toBe(404);
  expect((await call(whole, "POST", "/v1/batches", batch)).status).toBe(200);
});
