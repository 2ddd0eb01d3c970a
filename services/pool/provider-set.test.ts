import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createProviderSet, type ProviderSettings } from "./provider-set.ts";
import type { ProviderInit } from "./testing/pool-under-test.ts";

const one = (id: string, provider: ProviderInit) =>
  createProviderSet(create(ConfigSchema, { providers: { [id]: { kind: ProviderKind.OPENAI, ...provider } } })).get(id);

const headersOf = (list: readonly string[] = []) =>
  Object.fromEntries(list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1]]] : [])));

const pathsOf = (provider: ProviderSettings | undefined, stream = false) =>
  provider?.endpoints.map(({ dialect, path }) => [dialect, path("a/model", stream)]) ?? [];

test("what is not configured has its default", () => {
  const provider = one("here", { baseUrl: "http://localhost:8000/v1/" });
  expect(provider).toMatchObject({
    id: "here",
    origin: "http://localhost:8000",
    credentials: [{ kind: "none" }],
    callsMax: 1_024,
    queueMax: 1_024,
    stopsOnDisconnect: true,
    streamsUsage: true,
    usesMaxTokens: true,
    maxOutputTokensDefault: 4_096,
  });
  expect(pathsOf(provider)).toEqual([
    [Dialect.OPENAI_CHAT, "/v1/chat/completions"],
    [Dialect.OPENAI_COMPLETIONS, "/v1/completions"],
  ]);
  expect(headersOf(provider?.headers)).not.toHaveProperty("authorization");
  expect(createProviderSet(create(ConfigSchema)).progressIntervalMs).toBe(1_000);
});

test("what is configured stands", () => {
  const provider = one("google", {
    baseUrl: "https://example.com:8443/a/b",
    apiKey: "k",
    headers: { "X-One": "1", Accept: "application/json" },
    callsMax: 3,
    queueMax: 0,
    stopsOnDisconnect: true,
    streamsUsage: false,
  });
  expect(provider).toMatchObject({
    origin: "https://example.com:8443",
    callsMax: 3,
    queueMax: 0,
    stopsOnDisconnect: true,
    streamsUsage: false,
    credentials: [{ kind: "header", name: "authorization", value: "Bearer k" }],
  });
  expect(pathsOf(provider)[0]).toEqual([Dialect.OPENAI_CHAT, "/a/b/chat/completions"]);
  expect(headersOf(provider?.headers)).toEqual({
    "content-type": "application/json",
    accept: "application/json",
    "accept-encoding": "identity",
    "user-agent": "weir",
    "x-one": "1",
  });
  const config = create(ConfigSchema, { journal: { progressInterval: durationFromMs(250) } });
  expect(createProviderSet(config).progressIntervalMs).toBe(250);
});

test.each([
  ["openai", "https://api.openai.com", "/v1/chat/completions", true],
  ["groq", "https://api.groq.com", "/openai/v1/chat/completions", false],
  ["mistral", "https://api.mistral.ai", "/v1/chat/completions", false],
  ["together", "https://api.together.xyz", "/v1/chat/completions", true],
  ["ollama", "http://127.0.0.1:11434", "/v1/chat/completions", true],
])("%s is known by name", (id, origin, chatPath, stopsOnDisconnect) => {
  const provider = one(id, {});
  expect(provider).toMatchObject({ origin, stopsOnDisconnect });
  expect(pathsOf(provider)[0]).toEqual([Dialect.OPENAI_CHAT, chatPath]);
});

const { ANTHROPIC, AZURE, GEMINI, VERTEX, BEDROCK, OLLAMA } = ProviderKind;
const bearer = (value: string) => ({ kind: "header", name: "authorization", value: `Bearer ${value}` });
const geminiPath = "/v1beta/a/model:generateContent";
const vertexPath = "/v1/projects/p-1/locations/europe-west4/publishers/google/models/a%2Fmodel";

// Where each vendor is, how it is called, and what proves to it who calls.
test.each<[string, ProviderInit, string, string, string, object]>([
  [
    "anthropic",
    { kind: ANTHROPIC, apiKey: "k" },
    "https://api.anthropic.com",
    "/v1/messages",
    "/v1/messages",
    { name: "x-api-key", value: "k" },
  ],
  [
    "azure, by deployment",
    { kind: AZURE, apiKey: "k", baseUrl: "https://r.openai.azure.com", apiVersion: "2025-01-01" },
    "https://r.openai.azure.com",
    "/openai/deployments/a%2Fmodel/chat/completions?api-version=2025-01-01",
    "/openai/deployments/a%2Fmodel/chat/completions?api-version=2025-01-01",
    { name: "api-key", value: "k" },
  ],
  [
    "azure, v1",
    { kind: AZURE, apiKey: "k", baseUrl: "https://r.openai.azure.com/" },
    "https://r.openai.azure.com",
    "/openai/v1/chat/completions",
    "/openai/v1/chat/completions",
    { name: "api-key", value: "k" },
  ],
  [
    "gemini",
    { kind: GEMINI, apiKey: "k" },
    "https://generativelanguage.googleapis.com",
    geminiPath,
    "/v1beta/a/model:streamGenerateContent?alt=sse",
    { name: "x-goog-api-key", value: "k" },
  ],
  [
    "vertex",
    { kind: VERTEX, apiKey: "token", project: "p-1", region: "europe-west4" },
    "https://europe-west4-aiplatform.googleapis.com",
    `${vertexPath}:generateContent`,
    `${vertexPath}:streamGenerateContent?alt=sse`,
    bearer("token"),
  ],
  [
    "vertex, express",
    { kind: VERTEX, apiKey: "k" },
    "https://aiplatform.googleapis.com",
    "/v1/publishers/google/models/a%2Fmodel:generateContent",
    "/v1/publishers/google/models/a%2Fmodel:streamGenerateContent?alt=sse",
    { name: "x-goog-api-key", value: "k" },
  ],
  [
    "bedrock, with a key",
    { kind: BEDROCK, apiKey: "k", region: "eu-central-1" },
    "https://bedrock-runtime.eu-central-1.amazonaws.com",
    "/model/a%2Fmodel/converse",
    "/model/a%2Fmodel/converse-stream",
    bearer("k"),
  ],
  [
    "bedrock, signed",
    { kind: BEDROCK, region: "eu-central-1", aws: { accessKeyId: "id", secretAccessKey: "s" } },
    "https://bedrock-runtime.eu-central-1.amazonaws.com",
    "/model/a%2Fmodel/converse",
    "/model/a%2Fmodel/converse-stream",
    { kind: "aws", region: "eu-central-1", accessKeyId: "id", secretAccessKey: "s", sessionToken: undefined },
  ],
  ["ollama", { kind: OLLAMA }, "http://127.0.0.1:11434", "/api/chat", "/api/chat", { kind: "none" }],
])("%s is called where its vendor says", (_, provider, origin, whole, stream, credential) => {
  const settings = one("x", provider);
  expect(settings).toMatchObject({ origin, credentials: [credential] });
  expect(pathsOf(settings)[0]?.[1]).toBe(whole);
  expect(pathsOf(settings, true)[0]?.[1]).toBe(stream);
});

// The router takes no name that has one: see its plan.
const hasDotSegment = (name: string) => name.split(/[\\/]/).some((part) => part === "." || part === "..");

test("law: a model's name stays below the provider's base URL, whatever is in it", () => {
  const kinds: readonly ProviderInit[] = [
    { kind: AZURE, baseUrl: "https://h/base", apiVersion: "2025-01-01" },
    { kind: GEMINI, baseUrl: "https://h/base" },
    { kind: VERTEX, baseUrl: "https://h/base", project: "p-1" },
    { kind: BEDROCK, baseUrl: "https://h/base", region: "eu-central-1" },
  ];
  const name = fc.oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 20 }),
    fc.string({
      unit: fc.constantFrom(".", "/", "\\", "%", "2", "e", "?", "#", ":", ";", " ", "\r", "a"),
      minLength: 1,
    }),
  );
  const providers = kinds.map((kind) => one("x", kind));
  fc.assert(
    fc.property(
      name.filter((text) => text.isWellFormed() && !hasDotSegment(text)),
      fc.boolean(),
      (model, stream) => {
        for (const provider of providers) {
          for (const path of [provider?.endpoints[0]?.path(model, stream), provider?.embeddings(model)?.path]) {
            if (path === undefined) continue;
            const url = new URL(`https://h${path}`);
            expect(`${url.pathname}${url.search}`).toBe(path);
            expect(url.pathname.startsWith("/base/")).toBe(true);
            expect(url.hash).toBe("");
            expect([...url.searchParams.keys()].every((key) => key === "alt" || key === "api-version")).toBe(true);
          }
        }
      },
    ),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("several keys are several credentials, each once", () => {
  const settings = one("openai", { apiKey: "a", apiKeys: ["b", "a", "c"] });
  expect(settings?.credentials.map((key) => (key.kind === "header" ? key.value : ""))).toEqual([
    "Bearer a",
    "Bearer b",
    "Bearer c",
  ]);
});

test("dialects are those of the kind unless they are named; only OpenAI itself is taken to speak Responses", () => {
  expect(pathsOf(one("openai", {})).map(([, path]) => path)).toContain("/v1/responses");
  const named = one("here", { baseUrl: "http://h/v1", dialects: ["openai-responses", "openai-chat"] });
  expect(pathsOf(named).map(([dialect]) => dialect)).toEqual([Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT]);
  expect(() => one("x", { kind: GEMINI, dialects: ["ollama"] })).toThrow(/^providers\.x\.dialects/);
});

test("a query of the base URL goes with every call", () => {
  const provider = one("x", { kind: GEMINI, baseUrl: "https://h/v1?tenant=a" });
  expect(pathsOf(provider)[0]?.[1]).toBe("/v1/a/model:generateContent?tenant=a");
  expect(pathsOf(provider, true)[0]?.[1]).toBe("/v1/a/model:streamGenerateContent?alt=sse&tenant=a");
});

test.each(["", "ftp://example.com", "no url", "https://user:secret@example.com/v1"])(
  "refuses the base URL %s",
  (baseUrl) => {
    expect(() => one("strange", { baseUrl })).toThrow(/^providers\.strange\.base_url must be/);
  },
);
