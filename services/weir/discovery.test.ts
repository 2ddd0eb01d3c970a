import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { afterEach, expect, test } from "vitest";
import { completeConfig, demoModel, localModels, vendorsOfEnvironment } from "./discovery.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** Serves one answer at every path. */
async function serving(body: string, status = 200): Promise<string> {
  const server = createServer((_request, response) => response.writeHead(status).end(body));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/list`;
}

const nothing = { environment: [], local: [] };

test("a vendor is there as soon as its key is", () => {
  const found = vendorsOfEnvironment({ OPENAI_API_KEY: " sk-1 ", GROQ_API_KEY: "", GOOGLE_API_KEY: "g" });
  expect(found).toMatchObject([
    { id: "openai", apiKey: "sk-1", baseUrl: "https://api.openai.com/v1", reason: "OPENAI_API_KEY is set" },
    { id: "google", apiKey: "g", reason: "GOOGLE_API_KEY is set" },
  ]);
});

test("Ollama and vLLM are known by their lists", async () => {
  const ollama = await serving('{"models":[{"name":"llama3.2:1b"},{"name":""},{"size":1}]}');
  expect(await localModels({ id: "ollama", modelsUrl: ollama, modelsKey: "models" }, 2_000)).toEqual(["llama3.2:1b"]);
  const vllm = await serving('{"object":"list","data":[{"id":"qwen","owned_by":"vllm"}]}');
  expect(await localModels({ id: "vllm", modelsUrl: vllm, modelsKey: "data" }, 2_000)).toEqual(["qwen"]);
});

test.each([
  ["another program's list", '{"object":"list","data":[{"id":"qwen","owned_by":"someone"}]}', 200],
  ["no JSON", "<html>", 200],
  ["no list", '{"data":{}}', 200],
  ["null", "null", 200],
  ["an error", '{"data":[]}', 500],
])("%s is not vLLM", async (_what, body, status) => {
  const modelsUrl = await serving(body, status);
  expect(await localModels({ id: "vllm", modelsUrl, modelsKey: "data" }, 2_000)).toBeUndefined();
});

test("a server that does not answer in time is not there", async () => {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const modelsUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  expect(await localModels({ id: "vllm", modelsUrl, modelsKey: "data" }, 50)).toBeUndefined();
});

test("what the file names goes before what was found; the demo comes only when there is nothing else", () => {
  const found = { environment: vendorsOfEnvironment({ OPENAI_API_KEY: "sk-env" }), local: [] };
  const own = create(ConfigSchema, { providers: { openai: { kind: ProviderKind.OPENAI, apiKey: "sk-file" } } });
  const complete = completeConfig(own, found, "http://demo/v1");
  expect(complete.config.providers["openai"]?.apiKey).toBe("sk-file");
  expect([...complete.reasons]).toEqual([["openai", "in weir.yaml"]]);
  expect(own.providers["openai"]?.apiKey).toBe("sk-file");

  const empty = completeConfig(create(ConfigSchema), nothing, "http://demo/v1");
  expect(empty.config.providers["demo"]).toMatchObject({
    kind: ProviderKind.DEMO,
    baseUrl: "http://demo/v1",
    models: [demoModel],
  });
  expect(completeConfig(create(ConfigSchema), nothing, undefined).reasons.size).toBe(0);
});

test("discovery can be turned off, and the demo on", () => {
  const found = { environment: vendorsOfEnvironment({ OPENAI_API_KEY: "k" }), local: [] };
  const off = create(ConfigSchema, { discovery: { environment: false, demo: false } });
  expect(completeConfig(off, found, "http://demo/v1").reasons.size).toBe(0);
  const on = create(ConfigSchema, { discovery: { demo: true } });
  expect([...completeConfig(on, found, "http://demo/v1").reasons.keys()]).toEqual(["openai", "demo"]);
});
