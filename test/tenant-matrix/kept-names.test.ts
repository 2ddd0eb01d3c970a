import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Gateway, startGateway } from "../passthrough/gateway.ts";

// Two tenants whose calls go to one account at a provider, and name what is kept there: nothing but what is on record as their own, at
// any door, unless the account is theirs alone.

let gateway: Gateway;
let globex: string;

beforeAll(async () => {
  gateway = await startGateway();
  globex = gateway.addKey("globex");
}, 60_000);

afterAll(() => gateway.close());

async function post(path: string, body: string | object, key = gateway.key) {
  const response = await fetch(`${gateway.url}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    signal: AbortSignal.timeout(10_000),
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: response.status, text: await response.text() };
}

async function postFile(content: Buffer, purpose: string, key = gateway.key) {
  const form = new FormData();
  form.set("purpose", purpose);
  form.set("file", new Blob([new Uint8Array(content)]), "a.jsonl");
  const headers = { authorization: `Bearer ${key}` };
  const response = await fetch(`${gateway.url}/v1/files`, { method: "POST", headers, body: form });
  return { status: response.status, text: await response.text() };
}

const idOf = ({ text }: { readonly text: string }) => (JSON.parse(text) as { id: string }).id;
const callsSoFar = () => gateway.simulator.received().length + gateway.simulator.endpointCalls().length;

const messages = [{ role: "user", content: "hi" }];
const contents = [{ role: "user", parts: [{ text: "hi" }] }];
const input = "hi";

/** Requests by the door of each dialect that name what is never on record. */
const naming = (model: string): readonly (readonly [path: string, body: object | string])[] => [
  ["/v1/chat/completions", { model, messages: [...messages, { role: "assistant", audio: { id: "audio_1" } }] }],
  ["/v1/chat/completions", { model, messages, data_sources: [{ type: "azure_search" }] }],
  ["/openai/deployments/my-model/chat/completions", { messages, data_sources: [{ type: "azure_search" }] }],
  ["/v1/chat/completions", `{"model":"${model}","messages":[{"role":"user","content":"hi"}],"d\\u0061ta_sources":[1]}`],
  ["/v1/responses", { model, input, tools: [{ type: "code_interpreter", container: "cntr_1" }] }],
  ["/v1/responses", { model, input, prompt: { id: "pmpt_1" }, stream: true }],
  ["/v1/responses", { model, input, conversation: "conv_1", store: false }],
  ["/v1/responses", { model, input: [{ type: "item_reference", id: "msg_1" }] }],
  ["/v1/responses", { model, input: [{ id: "msg_1" }], store: false }],
  ["/v1/responses/input_tokens", { model, input, prompt: { id: "pmpt_1" } }],
  ["/v1/messages", { model, max_tokens: 9, messages, container: "container_1" }],
  ["/v1/messages", { model, max_tokens: 9, messages, container: { skills: [{ type: "custom", skill_id: "s" }] } }],
  ["/v1/messages/count_tokens", { model, messages, container: { id: "container_1" } }],
  [`/v1beta/models/${model}:generateContent`, { contents, cachedContent: "cachedContents/1" }],
  [`/v1beta/models/${model}:streamGenerateContent`, { contents, cached_content: "cachedContents/1" }],
  [`/v1beta/models/${model}:countTokens`, { generateContentRequest: { contents, cachedContent: "cachedContents/1" } }],
  [
    `/v1beta/models/${model}:generateContent`,
    { contents, tools: [{ fileSearch: { fileSearchStoreNames: ["fileSearchStores/x"] } }] },
  ],
  [`/v1beta/models/${model}:generateContent`, { contents, tools: [{ retrieval: { vertexRagStore: {} } }] }],
  [
    "/v1/chat",
    {
      model,
      messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }],
      extensions: { "openai-chat": { data_sources: [{ type: "azure_search" }] } },
    },
  ],
  [
    `/v1/models/${model}:generate`,
    {
      messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }],
      tools: [{ server: { type: "code_interpreter", settings: { container: "cntr_1" } } }],
    },
  ],
  ["/v1/audio/speech", { model, input, voice: { id: "voice_1" } }],
];

test("what is never on record may be named at no door, and the provider is not asked", async () => {
  const before = callsSoFar();
  for (const [path, body] of naming("my-model")) {
    const { status, text } = await post(path, body);
    expect([status, path], JSON.stringify(body)).toEqual([403, path]);
    expect(text).toContain("account_tenants");
  }
  expect(callsSoFar()).toBe(before);
});

test("an item of a stored response is its tenant's to refer to, and nobody else's", async () => {
  const first = await post("/v1/responses", { model: "my-model", input });
  const { output } = JSON.parse(first.text) as { output: readonly { readonly id: string }[] };
  const id = output.at(-1)?.id ?? "";
  const question = { role: "user", content: "And now?" };
  const refer = (item: string, key?: string) =>
    post("/v1/responses", { model: "my-model", input: [{ type: "item_reference", id: item }, question] }, key);
  expect(id).not.toBe("");
  expect((await refer(id)).status).toBe(200);
  expect(gateway.simulator.received().at(-1)?.body.toString()).not.toContain("item_reference");
  const before = callsSoFar();
  expect((await refer(id, globex)).status).toBe(403);
  // Where one is its tenant's and another is not.
  const mixed = [id, "msg_theirs"].map((item) => ({ type: "item_reference", id: item }));
  expect((await post("/v1/responses", { model: "my-model", input: mixed })).status).toBe(403);
  expect(callsSoFar()).toBe(before);
});

test("where the account is its tenant's it may, and another tenant may not", async () => {
  for (const [path, body] of naming("sole")) {
    if (path.includes("my-model")) continue;
    const { status, text } = await post(path, body);
    // What a dialect has no words for is another question.
    expect([403, 404], `${path} ${JSON.stringify(body)} ${text}`).not.toContain(status);
    expect((await post(path, body, globex)).status, path).toBe(403);
  }
  const body =
    '{ "model":"real-model", "messages":[{"role":"user","content":"hi"}], "data_sources":[{"type":"azure_search"}] }';
  await post("/v1/chat/completions", body.replace("real-model", "sole"));
  expect(gateway.simulator.received().at(-1)?.body.toString()).toBe(body);
});

test("files that are not on record are there only where the account is the tenant's", async () => {
  const theirs = idOf(await postFile(Buffer.from("a"), "user_data", globex));
  const file = (model: string, file_id: string) => ({
    model,
    messages: [{ role: "user", content: [{ type: "file", file: { file_id } }] }],
  });
  expect((await post("/v1/chat/completions", file("my-model", theirs))).status).toBe(404);
  expect((await post("/v1/chat/completions", file("my-model", "file-elsewhere"))).status).toBe(404);
  expect((await post("/v1/chat/completions", file("sole", "file-elsewhere"))).status).toBe(200);
  expect((await post("/v1/chat/completions", file("sole", "file-elsewhere"), globex)).status).toBe(404);
  const edit = (model: string) => ({ model, prompt: "a hat", images: [{ file_id: "file-elsewhere" }] });
  expect((await post("/v1/images/edits", edit("my-model"))).status).toBe(404);
  expect((await post("/v1/images/edits", edit("sole"))).status).toBe(200);
});

test("a key that is confined to collections names stores of such an account by their names", async () => {
  const key = gateway.addKey("acme", { collections: ["fileSearchStores/handbook"] });
  const ask = async (store: string, model: string) => {
    const tools = [{ fileSearch: { fileSearchStoreNames: [store] } }];
    return (await post(`/v1beta/models/${model}:generateContent`, { contents, tools }, key)).status;
  };
  expect([404, 403]).not.toContain(await ask("fileSearchStores/handbook", "sole"));
  expect(await ask("fileSearchStores/salaries", "sole")).toBe(404);
  expect(await ask("fileSearchStores/handbook", "my-model")).toBe(403);
});

test("tools of the client's own may be called what they like", async () => {
  const own = { file_id: "a", container: { id: "b" }, cachedContent: "c", prompt: { id: "d" }, data_sources: [1] };
  const parameters = { type: "object", properties: { file_id: { type: "string" }, container: { type: "string" } } };
  const tools = [{ type: "function", function: { name: "read", parameters: { ...parameters, examples: [own] } } }];
  const called = { id: "call_1", type: "function", function: { name: "read", arguments: JSON.stringify(own) } };
  const chat = {
    model: "my-model",
    tools,
    messages: [
      ...messages,
      { role: "assistant", tool_calls: [called] },
      { role: "tool", tool_call_id: "call_1", content: JSON.stringify(own) },
    ],
  };
  expect((await post("/v1/chat/completions", chat)).status).toBe(200);
  const claude = {
    model: "my-model",
    max_tokens: 9,
    tools: [{ name: "read", input_schema: parameters }],
    messages: [
      ...messages,
      { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "read", input: own }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: JSON.stringify(own) }] },
    ],
  };
  expect((await post("/v1/messages", claude)).status).toBe(200);
});

test("over the chat socket the same holds", async () => {
  const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/v1/chat/ws`, {
    headers: { authorization: `Bearer ${gateway.key}` },
  });
  await once(socket, "open");
  const request = {
    model: "my-model",
    messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }],
    extensions: { gemini: { cachedContent: "cachedContents/1" } },
  };
  socket.send(JSON.stringify({ id: "1", generate: request }));
  const [data] = (await once(socket, "message")) as [Buffer];
  expect(data.toString()).toContain("account_tenants");
  socket.close();
});

describe("a model that was tuned", () => {
  const tuned = "ft:real-model:acme::1";
  const job = async (key: string, model: string) => {
    const training_file = idOf(await postFile(Buffer.from("{}"), "fine-tune", key));
    // The simulator's job has what it is asked for.
    return post("/v1/fine_tuning/jobs", { model, training_file, fine_tuned_model: tuned }, key);
  };

  test("is its tenant's alone where a pattern would let everybody call it, in chats and in jobs", async () => {
    const ask = (key?: string) => post("/v1/chat/completions", { model: `any/${tuned}`, messages }, key);
    expect((await ask()).status).toBe(404);
    expect((await job(gateway.key, "my-model")).status).toBe(200);
    expect((await ask()).status).not.toBe(404);
    expect((await ask(globex)).status).toBe(404);
    expect((await job(globex, `any/${tuned}`)).status).toBe(404);
    const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/v1/realtime?model=any/${tuned}`, {
      headers: { authorization: `Bearer ${globex}` },
    });
    socket.on("error", () => undefined);
    const [, response] = (await once(socket, "unexpected-response")) as [
      unknown,
      { statusCode: number; resume(): void },
    ];
    response.resume();
    expect(response.statusCode).toBe(404);
  });
});

test.each<[string, object]>([
  ["container", { tools: [{ type: "code_interpreter", container: "cntr_1" }] }],
  ["prompt", { prompt: { id: "pmpt_1" } }],
  ["data_sources", { data_sources: [{ type: "azure_search" }] }],
  ["item_reference", { input: [{ id: "msg_1" }] }],
])("a line of a batch does not name %s", async (member, more) => {
  const line = { custom_id: "1", method: "POST", url: "/v1/responses", body: { model: "real-model", input, ...more } };
  const { status, text } = await postFile(Buffer.from(`${JSON.stringify(line)}\n`), "batch");
  expect(status).toBe(400);
  expect(text).toContain(`Line 1 of the batch's input file has \`${member}\``);
});

describe("in a session of Realtime", () => {
  interface Heard {
    readonly type: string;
    readonly error?: { readonly code: string; readonly event_id: string | null; readonly message: string };
  }

  async function connect(model: string, key = gateway.key) {
    const url = `${gateway.url.replace("http", "ws")}/v1/realtime?model=${model}`;
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${key}` } });
    const heard: Heard[] = [];
    socket.on("message", (data) => heard.push(JSON.parse((data as Buffer).toString()) as Heard));
    await once(socket, "open");
    const told = gateway.simulator.realtimeCalls().at(-1)?.events ?? [];
    return {
      socket,
      heard,
      told,
      say: (event: object | string) => socket.send(typeof event === "string" ? event : JSON.stringify(event)),
    };
  }

  const session = (more: object, event_id?: string) => ({ type: "session.update", event_id, session: more });
  const search = (id: string) => session({ tools: [{ type: "file_search", vector_store_ids: [id] }] }, "ask");

  test("events that name what is not the tenant's are refused and do not reach the provider; the others follow in their order", async () => {
    const store = idOf(await post("/v1/vector_stores", { name: "a" }));
    const theirs = idOf(await post("/v1/vector_stores", { name: "b" }, globex));
    const { socket, heard, told, say } = await connect("my-model");
    const passing = [
      session({ instructions: "one", audio: { output: { voice: "ash" } } }),
      search(store),
      session({ instructions: "two" }),
      {
        type: "response.create",
        response: { conversation: "none", input: [{ type: "item_reference", id: "item_1" }] },
      },
    ];
    const refused = [
      search(theirs),
      search("vs_nobodys"),
      session({ prompt: { id: "pmpt_1" } }, "ask"),
      session({ audio: { output: { voice: { id: "voice_1" } } } }, "ask"),
      session({ tools: [{ type: "mcp", server_label: "a", tunnel_id: "tunnel_1" }] }, "ask"),
      '{"type":"session.update","event_id":"ask","session":{"pr\\u006fmpt":{"id":"pmpt_1"}}}',
      '{"type":"session.update","event_id":"ask","session":{"prompt":{"id":"pmpt_1"},"prompt":null}}',
      {
        type: "session.update",
        event_id: "ask",
        session: { file_id: "a", deep: JSON.parse(`${"[".repeat(200)}${"]".repeat(200)}`) },
      },
    ];
    say(passing[0] as object);
    for (const event of refused) say(event);
    for (const event of passing.slice(1)) say(event);
    await expect.poll(() => told.length, { timeout: 10_000 }).toBe(passing.length);
    expect(told).toEqual(passing.map((event) => JSON.parse(JSON.stringify(event)) as object));
    const errors = heard.filter(({ type }) => type === "error").map(({ error }) => error);
    expect(errors).toHaveLength(refused.length);
    expect(errors.every((error) => error?.event_id === "ask")).toBe(true);
    expect(errors.slice(0, 3).map((error) => error?.code)).toEqual(["not_found", "not_found", "forbidden"]);
    socket.close();
  });

  test("they pass where the account is the tenant's, and not for another tenant", async () => {
    const own = await connect("sole");
    const event = session({ prompt: { id: "pmpt_1" } });
    own.say(event);
    await expect.poll(() => own.told.length, { timeout: 10_000 }).toBe(1);
    own.socket.close();
    const other = await connect("sole", globex);
    other.say(event);
    await expect.poll(() => other.heard.filter(({ type }) => type === "error").length, { timeout: 10_000 }).toBe(1);
    expect(other.told).toEqual([]);
    other.socket.close();
  });
});
