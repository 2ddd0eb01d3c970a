import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { systemClock } from "@weir/kit/clock";
import { ConfigError } from "@weir/kit/config/fault";
import { loadConfig, parseConfig } from "@weir/kit/config/load";
import { watchConfig } from "@weir/kit/config/watch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProviderSet, type ProviderSet } from "../provider-set.ts";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  readAll,
  type Received,
  silent,
  startProvider,
} from "../testing/pool-under-test.ts";
import { loadPlugins } from "./plugin-load.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-plugin-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hello = { model: "alias", messages: [{ role: "user", content: "hi" }] };

/** Runs one request against a plugin's provider. */
async function ask(
  answer: (response: ServerResponse, received: Received) => unknown,
  load: (url: string) => Promise<ProviderSet>,
  body: object,
  codec = openaiChat,
) {
  await using server = await startProvider(answer);
  const set = await load(server.url.replace(/\/v1$/, ""));
  await using pool = createTestPool(server.url, {}, { providers: () => set });
  const [provider] = set.providers;
  const target = { provider: provider?.id ?? "", model: "parrot/1" };
  const request = attemptRequest(body, { target, allowUnpriced: true }, codec);
  const got = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
  return { ...got, received: server.received, events: pool.journal.events, defects: pool.defects };
}

describe("the example", () => {
  const path = join(import.meta.dirname, "../../../examples/provider-plugin/weir.yaml");

  async function example(url: string, ...moreKeys: string[]): Promise<ProviderSet> {
    const config = await loadConfig({ path, env: { HOUSE_KEY: "key-1" } });
    for (const provider of Object.values(config.providers)) {
      provider.baseUrl = url;
      provider.apiKeys = moreKeys;
    }
    return createProviderSet(config, await loadPlugins(config));
  }

  const whole = { text: "hi, hi", why: "end", counts: { in: 1, out: 3 } };

  test("answers a request as its API has it, with its headers and counts", async () => {
    const body = { ...hello, max_tokens: 7, temperature: 1 };
    const got = await ask((response) => json(response, 200, whole), example, body);
    expect(got.error).toBeUndefined();
    const reply: unknown = JSON.parse(got.text);
    expect(reply).toMatchObject({
      choices: [{ message: { content: "hi, hi" }, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: 3 },
    });
    expect(got.head?.warnings).toMatchObject([{ code: "field_dropped", param: "sampling" }]);
    expect(got.received).toMatchObject([
      { url: "/v2/models/parrot%2F1/answer", headers: { "x-house-key": "key-1", "x-house-app": "weir" } },
    ]);
    expect(got.received[0]?.headers).not.toHaveProperty("authorization");
    expect(JSON.parse(got.received[0]?.body ?? "")).toEqual({
      stream: false,
      turns: [{ who: "user", text: "hi" }],
      limit: 7,
    });
    expect(got.events).toMatchObject([
      { usageSource: UsageSource.REPORTED, usage: { inputTokens: 1, outputTokens: 3 } },
    ]);
  });

  test("streams, to a client of any dialect", async () => {
    const lines = [{ piece: "hi, " }, { piece: "hi" }, { why: "limit", counts: { in: 1, out: 3 } }];
    const got = await ask(
      (response) =>
        response
          .writeHead(200, { "content-type": "application/x-ndjson" })
          .end(lines.map((line) => `${JSON.stringify(line)}\n`).join("")),
      example,
      { ...hello, max_tokens: 9, stream: true },
      anthropicMessages,
    );
    expect(got.error).toBeUndefined();
    expect(got.text).toContain('"text":"hi, "');
    expect(got.text).toContain('"stop_reason":"max_tokens"');
    expect(got.text).toContain("event: message_stop");
    expect(got.events).toMatchObject([{ usage: { inputTokens: 1, outputTokens: 3 } }]);
  });

  test("takes a stream that closes early for cut", async () => {
    const got = await ask(
      (response) => response.writeHead(200, { "content-type": "application/x-ndjson" }).end('{"piece":"hi"}\n'),
      example,
      { ...hello, stream: true },
    );
    expect(got.error).toMatchObject({ reason: ErrorReason.STREAM_TRUNCATED });
    expect(got.events).toHaveLength(1);
  });

  test.each([
    ["busy", { reason: ErrorReason.PROVIDER_RATE_LIMITED }],
    ["stranger", { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "credential" } }],
    ["asleep", { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "server" } }],
    ["nonsense", { reason: ErrorReason.PROVIDER_REJECTED, metadata: { status: "400" } }],
  ])("judges %s by its body, not by its status", async (fault, error) => {
    for (const status of [409, 200]) {
      const got = await ask((response) => json(response, status, { fault }), example, hello);
      expect(got.error).toMatchObject(error);
      expect(got.defects).toEqual([]);
    }
  });

  test("has its keys take turns", async () => {
    const got = await ask(
      (response) => json(response, 409, { fault: "stranger" }),
      (url) => example(url, "key-2"),
      hello,
    );
    expect(got.error).toMatchObject({ metadata: { cause: "key" } });
  });

  test("refuses what the API cannot say before anything is sent", async () => {
    for (const [more, param] of [
      [{ stop: ["x"] }, "stop"],
      [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools"],
    ] as const) {
      const got = await ask((response) => json(response, 200, whole), example, { ...hello, ...more });
      expect(got.error).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } });
      expect(got.received).toEqual([]);
    }
  });
});

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

let modules = 0;

/** Writes a module, and a configuration with it. */
function configOf(source: string, more = "", file = join(folder, `provider-${(modules += 1)}.mjs`)) {
  writeFileSync(file, source);
  const url = /base_url/.test(more) ? "" : 'base_url: "http://127.0.0.1:1"';
  const text = `providers: { x: { kind: plugin, module: ${JSON.stringify(file)}, ${[url, more].filter(Boolean).join(", ")} } }`;
  return parseConfig(text, { env: {}, readFile: () => "" }).config;
}

const good = `path: (model, stream, dialect) => "/" + dialect + "/" + model.length + "/" + stream, headers: () => ({})`;

describe("a module of public dialects", () => {
  test("lets bytes through in each of them, and translates the rest into the first", async () => {
    const source = `export const provider = { dialects: ["anthropic-messages", "openai-chat"], ${good} };`;
    const load = async (url: string) => {
      const config = configOf(source, `base_url: "${url}/base"`);
      return createProviderSet(config, await loadPlugins(config));
    };
    const bytes = await ask((response) => json(response, 500, {}), load, { ...hello, unknown_member: 1 });
    expect(bytes.received).toMatchObject([{ url: "/base/openai-chat/8/false" }]);
    expect(bytes.received[0]?.body).toContain('"unknown_member":1');
    const prompt = { model: "alias", input: "hi" };
    const { openaiResponses } = await import("@weir/dialect/openai-responses/codec");
    const other = await ask((response) => json(response, 500, {}), load, prompt, openaiResponses);
    expect(other.received).toMatchObject([{ url: "/base/anthropic-messages/8/false" }]);
  });
});

describe("a module that cannot be used", () => {
  const codec = `codec: { name: "own", framing: "sse", writeRequest() {}, readAnswer() {}, createFrameReader() {}, readError() {} }`;

  test.each([
    ["syntax of no module", "export const provider = {", "cannot be loaded"],
    ["an error of its own", `throw new TypeError("secret-word");`, "cannot be loaded (TypeError)"],
    ["an import of what is not there", `import "./not-there.mjs";`, "cannot be loaded"],
    ["no provider", "export const other = 1;", "exports no `provider`"],
    ["no dialect", `export const provider = { ${good} };`, "neither `dialects` nor a `codec`"],
    ["an unknown dialect", `export const provider = { dialects: ["openai"], ${good} };`, "no list of names"],
    ["no path", `export const provider = { dialects: ["openai-chat"], headers: () => ({}) };`, "`provider.path`"],
    [
      "a path without slash",
      `export const provider = { ${codec}, path: () => "x", headers: () => ({}) };`,
      "gives no path",
    ],
    ["half a codec", `export const provider = { codec: { name: "own", framing: "sse" }, ${good} };`, "writeRequest"],
    ["a framing of its own", `export const provider = { codec: { name: "own", framing: "xml" }, ${good} };`, "framing"],
    ["a judge that is none", `export const provider = { ${codec}, judge: 1, ${good} };`, "`provider.judge`"],
    [
      "a header of Weir's",
      `export const provider = { ${codec}, path: () => "/", headers: () => ({ Host: "x" }) };`,
      "gives host, which Weir sets itself",
    ],
    [
      "a header with a line break",
      `export const provider = { ${codec}, path: () => "/", headers: () => ({ "x-key": "secret-word\\n" }) };`,
      "cannot have",
    ],
  ])("with %s is a fault of the configuration, without words of the module", async (_what, source, text) => {
    const error: unknown = await loadPlugins(configOf(source)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error).toMatchObject({ faults: [{ path: "providers.x.module" }] });
    expect(String(error)).toContain(text);
    expect(String(error)).not.toContain("secret-word");
  });

  test("is refused by the set when nobody loaded it", () => {
    expect(() => createProviderSet(configOf(`export const provider = { ${codec}, ${good} };`))).toThrow(
      "providers.x.module is not loaded",
    );
  });

  test("that judges by throwing has its provider judged by the status", async () => {
    const judge = `judge() { throw new Error("no"); }`;
    const source = `export const provider = { dialects: ["openai-chat"], ${judge}, ${good} };`;
    const load = async (url: string) => {
      const config = configOf(source, `base_url: "${url}"`);
      return createProviderSet(config, await loadPlugins(config));
    };
    const got = await ask((response) => json(response, 429, {}), load, hello);
    expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_RATE_LIMITED });
    expect(got.events).toHaveLength(1);
  });
});

test("a changed module comes into force, and a faulty one leaves the former in force and shows", async () => {
  const file = join(folder, "watched.mjs");
  const path = join(folder, "weir.yaml");
  const write = (word: string) =>
    writeFileSync(
      file,
      `export const provider = { dialects: ["openai-chat"], path: () => "/${word}", headers: () => ({}) };`,
    );
  write("one");
  writeFileSync(path, `providers: { x: { kind: plugin, module: watched.mjs, base_url: "http://127.0.0.1:1" } }`);
  let set: ProviderSet | undefined;
  const watch = await watchConfig({
    path,
    env: {},
    clock: systemClock,
    log: silent,
    async apply(config) {
      set = createProviderSet(config, await loadPlugins(config));
    },
  });
  const pathNow = () => set?.get("x")?.endpoints[0]?.path("m", false);
  try {
    expect(pathNow()).toBe("/one");
    write("second");
    await watch.check();
    expect(pathNow()).toBe("/second");
    writeFileSync(file, "export const provider = 1;");
    await watch.check();
    expect(pathNow()).toBe("/second");
    expect(watch.status().fault).toContain("providers.x.module: exports no `provider`");
    rmSync(file);
    await watch.check();
    expect(watch.status().fault).toContain("providers.x.module: there is no such file");
    write("fourth");
    await watch.check();
    expect(pathNow()).toBe("/fourth");
    expect(watch.status().fault).toBeUndefined();
  } finally {
    watch.close();
  }
});

test("a module belongs to its kind, and is a file", () => {
  const faultsOf = (provider: string): string[] => {
    try {
      parseConfig(`providers: { x: ${provider} }`, { env: {}, readFile: () => "" });
    } catch (error) {
      if (error instanceof ConfigError) return error.faults.map((fault) => `${fault.path}: ${fault.text}`);
      throw error;
    }
    return [];
  };
  const url = 'base_url: "http://127.0.0.1:1"';
  expect(faultsOf(`{ kind: openai, module: ./x.ts, ${url} }`)).toEqual(["providers.x.module: is for `kind: plugin`"]);
  expect(faultsOf(`{ kind: plugin, ${url} }`)).toEqual([
    "providers.x.module: missing; a file such as ./my-provider.ts",
  ]);
  for (const module of ["https://host.example/x.ts", "data:text/javascript,1", "./x.json", "package"]) {
    expect(faultsOf(`{ kind: plugin, module: "${module}", ${url} }`)).toHaveLength(1);
  }
  expect(faultsOf(`{ kind: plugin, module: ./x.ts, dialects: [openai-chat], ${url} }`)).toEqual([
    "providers.x.dialects: the module says them",
  ]);
});
