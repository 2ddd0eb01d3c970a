import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ConfigSchema, ProviderKind } from "@weir/gen/weir/config/v1/config_pb";
import { expect, test } from "vitest";
import { createProviderSet } from "./provider-set.ts";
import type { ProviderInit } from "./testing/pool-under-test.ts";

const one = (id: string, provider: ProviderInit) =>
  createProviderSet(create(ConfigSchema, { providers: { [id]: { kind: ProviderKind.OPENAI, ...provider } } })).get(id);

const headersOf = (list: readonly string[] = []) =>
  Object.fromEntries(list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1]]] : [])));

test("what is not configured has its default", () => {
  const provider = one("here", { baseUrl: "http://localhost:8000/v1/" });
  expect(provider).toMatchObject({
    id: "here",
    origin: "http://localhost:8000",
    chatPath: "/v1/chat/completions",
    callsMax: 1_024,
    queueMax: 1_024,
    stopsOnDisconnect: true,
    streamsUsage: true,
  });
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
    chatPath: "/a/b/chat/completions",
    callsMax: 3,
    queueMax: 0,
    stopsOnDisconnect: true,
    streamsUsage: false,
  });
  expect(headersOf(provider?.headers)).toEqual({
    "content-type": "application/json",
    accept: "application/json",
    "accept-encoding": "identity",
    "user-agent": "weir",
    "x-one": "1",
    authorization: "Bearer k",
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
  expect(one(id, {})).toMatchObject({ origin, chatPath, stopsOnDisconnect });
});

test.each(["", "ftp://example.com", "no url", "https://user:secret@example.com/v1"])(
  "refuses the base URL %s",
  (baseUrl) => {
    expect(() => one("strange", { baseUrl })).toThrow(/^providers\.strange\.base_url must be/);
  },
);
