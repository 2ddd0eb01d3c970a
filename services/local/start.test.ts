import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type LocalConfig, LocalConfigSchema } from "@weir/gen/weir/config/v1/provider_pb";
import { systemClock } from "@weir/kit/clock";
import type { ModelServer } from "@weir/kit/model-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startModelServer } from "./start.ts";
import { silentLog } from "./testing/engine.ts";
import { writeTinyModel } from "./testing/tiny-model.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-local-server-"));
const tiny = join(folder, "tiny.gguf");
let server: ModelServer;

beforeAll(async () => {
  writeTinyModel(tiny);
  server = await startModelServer({ clock: systemClock, log: silentLog });
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

type Settings = Partial<Omit<LocalConfig, "$typeName">>;

function providers(settings: Readonly<Record<string, Settings>>): ReadonlyMap<string, LocalConfig> {
  return new Map(
    Object.entries(settings).map(([id, local]) => [
      id,
      create(LocalConfigSchema, { files: { tiny }, threads: 1, sequences: 1, contextTokens: 512, ...local }),
    ]),
  );
}

async function use(settings: Readonly<Record<string, Settings>>): Promise<void> {
  const commit = await server.prepare(providers(settings));
  commit();
}

function call(provider: string, path: string, body?: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`${server.baseUrl(provider)}/${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${server.token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...init,
  });
}

const chat = { model: "tiny", messages: [{ role: "user", content: "hello" }], max_tokens: 8, temperature: 0 };

async function errorOf(response: Response): Promise<unknown> {
  const { error } = (await response.json()) as { error: { type: string; code: string | null; param: string | null } };
  return { status: response.status, code: error.code, param: error.param };
}

async function faultsOf(settings: Readonly<Record<string, Settings>>): Promise<readonly string[]> {
  try {
    await server.prepare(providers(settings));
  } catch (error) {
    return (error as { faults: { path: string; text: string }[] }).faults.map(({ path, text }) => `${path}: ${text}`);
  }
  return [];
}

test("its own models are listed, and nobody without its key gets an answer", async () => {
  await use({ house: {} });
  const listed = (await (await call("house", "models")).json()) as { data: { id: string }[] };
  expect(listed.data.map(({ id }) => id)).toEqual(["tiny"]);
  for (const authorization of ["", "Bearer ", `Bearer ${"x".repeat(server.token.length)}`]) {
    const response = await call("house", "chat/completions", chat, { headers: { authorization } });
    expect(response.status).toBe(401);
  }
  expect((await call("other", "models")).status).toBe(404);
  expect((await call("house", "files")).status).toBe(404);
});

test("faults are told as OpenAI tells them, under the names of its dialect", async () => {
  await use({ house: {} });
  const refused = async (more: object) => errorOf(await call("house", "chat/completions", { ...chat, ...more }));
  expect(await refused({ model: "other" })).toMatchObject({ status: 404, code: "model_not_found" });
  expect(await refused({ n: 2 })).toMatchObject({ status: 400, param: "n" });
  expect(await refused({ messages: [{ role: "user", content: "x".repeat(600) }] })).toMatchObject({
    status: 400,
    code: "context_length_exceeded",
  });
  const broken = await call("house", "chat/completions", undefined, { method: "POST", body: "{" });
  expect(broken.status).toBe(400);
});

test("a full queue is a rate limit with a time to come back, before the stream and instead of it", async () => {
  await use({ house: { queueMax: 0 } });
  await call("house", "chat/completions", chat);
  const hangUp = new AbortController();
  const endless = { ...chat, max_tokens: 400, stream: true, temperature: 1.5, seed: 3 };
  const busy = await call("house", "chat/completions", endless, { signal: hangUp.signal });
  expect(busy.status).toBe(200);
  const refused = await call("house", "chat/completions", { ...chat, stream: true });
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  // Who hangs up frees the place.
  hangUp.abort();
  await expect.poll(async () => (await call("house", "chat/completions", chat)).status, { timeout: 5_000 }).toBe(200);
});

test("a change of another provider leaves a reply alone, and one of its own lets it end", async () => {
  await use({ house: {}, cabin: {} });
  const stream = { ...chat, max_tokens: 300, stream: true, temperature: 1.5, seed: 3 };
  const replies = await Promise.all([
    call("house", "chat/completions", stream),
    call("cabin", "chat/completions", stream),
  ]);
  await use({ house: { sequences: 2 }, barn: {} });
  for (const reply of replies)
    expect(await reply.text()).toMatch(/"finish_reason":"(length|stop)"[^]*data: \[DONE\]\n\n$/);
  expect((await call("cabin", "models")).status).toBe(404);
  expect((await call("barn", "chat/completions", chat)).status).toBe(200);
  expect((await call("house", "chat/completions", chat)).status).toBe(200);
});

test("files that cannot be used are all named at once, and what is in force stays", async () => {
  await use({ house: {} });
  const none = join(folder, "none.gguf");
  const text = join(folder, "text.gguf");
  const short = join(folder, "short.gguf");
  writeFileSync(text, "This is no model.\n");
  writeTinyModel(short);
  truncateSync(short, 1_000);
  const shorter = join(folder, "shorter.gguf");
  writeTinyModel(shorter);
  truncateSync(shorter, statSync(shorter).size - 4_000);
  const faults = await faultsOf({
    house: { files: { none, text, short, shorter, folder } },
    cabin: { memoryBytesMax: 1_048_576n },
  });
  expect(faults).toEqual([
    "providers.house.local.files.none: cannot be read (ENOENT)",
    "providers.house.local.files.text: is not a GGUF file, or a damaged one",
    "providers.house.local.files.short: is not a GGUF file, or a damaged one",
    "providers.house.local.files.shorter: is not a GGUF file, or a damaged one",
    "providers.house.local.files.folder: cannot be read (EISDIR)",
    expect.stringMatching(
      /^providers\.cabin\.local\.files\.tiny: needs \d+ bytes of memory, more than memory_bytes_max$/,
    ),
  ]);
  expect((await call("house", "chat/completions", chat)).status).toBe(200);
});

test("a file that is cut short after it was looked at fails its requests, not the process", async () => {
  const cut = join(folder, "cut.gguf");
  writeTinyModel(cut);
  await use({ house: { files: { tiny, cut } } });
  truncateSync(cut, 90_000);
  const failed = await call("house", "chat/completions", { ...chat, model: "cut" });
  expect(failed.status).toBe(503);
  expect((await call("house", "chat/completions", chat)).status).toBe(200);
});
