import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { weirChat } from "@weir/dialect/weir-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CapabilitiesConfigSchema, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { createCapabilityTable } from "@weir/kit/config/capabilities";
import { knownModels } from "@weir/kit/config/capabilities-known";
import { describe, expect, test } from "vitest";
import {
  attemptRequest,
  canonicalRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  startProvider,
} from "../testing/pool-under-test.ts";

type Declared = Omit<MessageInitShape<typeof CapabilitiesConfigSchema>, "$typeName">;

const table = (config: Readonly<Record<string, Declared>>, origin = "https://host.example") =>
  createCapabilityTable(
    origin,
    Object.fromEntries(
      Object.entries(config).map(([name, capabilities]) => [name, create(CapabilitiesConfigSchema, capabilities)]),
    ),
  );

describe("the table", () => {
  test("knows nothing of what nobody says", () => {
    expect(table({}).known("any")).toEqual({});
    expect(table({ other: { images: false } }).known("any")).toEqual({});
  });

  test("asks a name before patterns, and a longer pattern before a shorter one, for each capability", () => {
    const { declared } = table({
      "*": { images: false, audio: false, contextTokens: 10 },
      "llama-*": { images: true, contextTokens: 20 },
      "llama-3": { contextTokens: 30 },
    });
    expect(declared("llama-3")).toMatchObject({ images: true, audio: false, contextTokens: 30 });
    expect(declared("llama-4")).toMatchObject({ images: true, audio: false, contextTokens: 20 });
    expect(declared("qwen")).toMatchObject({ images: false, audio: false, contextTokens: 10 });
  });

  test("has what is built in for the vendor's own server only, and what is configured goes over it", () => {
    const openai = "https://api.openai.com";
    expect(table({}, openai).known("gpt-4")).toMatchObject({ images: false, contextTokens: 8_192 });
    expect(table({}, openai).declared("gpt-4")).toEqual({});
    expect(table({ "gpt-4": { images: true } }, openai).known("gpt-4")).toMatchObject({ images: true, audio: false });
    expect(table({}).known("gpt-4")).toEqual({});
  });

  test("says for every model that is built in where its vendor says so", () => {
    for (const models of knownModels.values()) {
      for (const { source } of models.values()) expect(source).toMatch(/^https:\/\/developers\.openai\.com\//);
    }
  });
});

const pixel = "data:image/png;base64,iVBORw0KGgo=";
const schema = { type: "object" };

const chat = (more: object, content: unknown = "hi") => ({
  model: "alias",
  messages: [{ role: "user", content }],
  ...more,
});

interface Case {
  readonly what: string;
  readonly lacking: Declared;
  readonly client: Codec;
  readonly body: object;
  readonly param: string;
}

const cases: readonly Case[] = [
  {
    what: "tools",
    lacking: { tools: false },
    client: openaiChat,
    body: chat({ tools: [{ type: "function", function: { name: "f" } }] }),
    param: "tools",
  },
  {
    what: "a picture",
    lacking: { images: false },
    client: openaiChat,
    body: chat({}, [{ type: "image_url", image_url: { url: pixel } }]),
    param: "messages[0]",
  },
  {
    what: "sound",
    lacking: { audio: false },
    client: openaiChat,
    body: chat({}, [{ type: "input_audio", input_audio: { data: "AAAA", format: "wav" } }]),
    param: "messages[0]",
  },
  {
    what: "a document",
    lacking: { files: false },
    client: anthropicMessages,
    body: {
      max_tokens: 10,
      ...chat({}, [
        { type: "text", text: "read" },
        { type: "document", source: { type: "base64", media_type: "application/pdf", data: "AAAA" } },
      ]),
    },
    param: "messages",
  },
  {
    what: "a picture that a tool gave",
    lacking: { images: false },
    client: anthropicMessages,
    body: {
      model: "alias",
      max_tokens: 10,
      messages: [
        { role: "assistant", content: [{ type: "tool_use", id: "t", name: "look", input: {} }] },
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "t",
              content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } }],
            },
          ],
        },
      ],
    },
    param: "messages",
  },
  {
    what: "a schema, in the client's word for it",
    lacking: { jsonSchema: false },
    client: openaiResponses,
    body: { model: "alias", input: "hi", text: { format: { type: "json_schema", name: "n", schema } } },
    param: "text.format",
  },
  {
    what: "reasoning, in the client's word for it",
    lacking: { reasoning: false },
    client: gemini,
    body: {
      contents: [{ role: "user", parts: [{ text: "hi" }] }],
      generationConfig: { thinkingConfig: { thinkingBudget: 100 } },
    },
    param: "generationConfig.thinkingConfig.thinkingBudget",
  },
];

/** Kinds whose own dialect is that of a client, so that its bytes pass. */
const passing: ReadonlyMap<Codec, ProviderInit> = new Map([
  [openaiChat, {}],
  [openaiResponses, { dialects: ["openai-responses"] }],
  [anthropicMessages, { kind: ProviderKind.ANTHROPIC }],
  [gemini, { kind: ProviderKind.GEMINI }],
]);

/** A pool before a provider that would answer any request with a server's error. */
async function ask(body: object, client: Codec, init: ProviderInit, stream = false) {
  await using provider = await startProvider((response) => response.writeHead(500).end());
  await using pool = createTestPool(provider.url, init);
  const request = attemptRequest(body, {}, client, stream);
  const answer = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
  return { error: answer.error, sent: provider.received.length, intents: pool.journal.intents.size };
}

const sent = { error: { reason: ErrorReason.PROVIDER_UNAVAILABLE }, sent: 1, intents: 1 };

describe.each(cases)("a request with $what", ({ lacking, client, body, param }) => {
  const refused = {
    error: { reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param, provider: "p" } },
    sent: 0,
    intents: 0,
  };

  test("is refused before anything is sent, translated or not", async () => {
    const capabilities = { "target-*": lacking };
    const elsewhere = client === anthropicMessages ? {} : { kind: ProviderKind.ANTHROPIC };
    expect(await ask(body, client, { ...elsewhere, capabilities })).toMatchObject(refused);
    expect(await ask(body, client, { ...passing.get(client), capabilities })).toMatchObject(refused);
  });

  test("is sent to a model of which it is not said", async () => {
    for (const capabilities of [{}, { other: lacking }, { "target-model": {} }]) {
      expect(await ask(body, client, { ...passing.get(client), capabilities })).toMatchObject(sent);
    }
  });
});

test("a request that needs nothing of what is missing is sent", async () => {
  const none = { tools: false, images: false, audio: false, files: false, jsonSchema: false, reasoning: false };
  const capabilities = { "*": { ...none, streaming: false, contextTokens: 1_000 } };
  for (const init of [{ capabilities }, { kind: ProviderKind.ANTHROPIC, capabilities }]) {
    expect(await ask(chat({ reasoning_effort: "none" }), openaiChat, init)).toMatchObject(sent);
  }
});

test("bytes that only the provider can judge are sent", async () => {
  const body = chat({}, [{ type: "image_url", image_url: { url: pixel }, vendors_own: true }]);
  expect(await ask(body, openaiChat, { capabilities: { "*": { images: false } } })).toMatchObject(sent);
});

test("a stream of a model that has none is refused, and all but a stream is not", async () => {
  const capabilities = { "*": { streaming: false } };
  for (const init of [{ capabilities }, { kind: ProviderKind.ANTHROPIC, capabilities }]) {
    expect(await ask(chat({ stream: true }), openaiChat, init)).toMatchObject({
      error: { reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: "stream" } },
      sent: 0,
    });
    expect(await ask(chat({}), openaiChat, init)).toMatchObject(sent);
  }
});

test("a caller of the canonical form gets the events of an answer that is no stream", async () => {
  const reply = {
    id: "r",
    model: "m",
    created: 1,
    choices: [{ index: 0, message: { content: "whole" }, finish_reason: "stop" }],
  };
  await using provider = await startProvider((response) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply)),
  );
  await using pool = createTestPool(provider.url, { capabilities: { "*": { streaming: false } } });
  const kinds: (string | undefined)[] = [];
  for await (const { payload } of pool.client.runAttempt(canonicalRequest(), {
    metadata: principalMetadata,
  })) {
    if (payload.case === "event") kinds.push(payload.value.kind.case);
  }
  expect(kinds).toEqual(["start", "delta", "end"]);
  expect(JSON.parse(provider.received[0]?.body ?? "")).not.toHaveProperty("stream", true);
});

describe("a context of 100 tokens", () => {
  const capabilities = { "*": { contextTokens: 100 } };
  const inits = [{ capabilities }, { kind: ProviderKind.ANTHROPIC, capabilities }];
  const long = (characters: number) => chat({}, "a".repeat(characters));

  test("takes what may be up to twice as long, and refuses what is longer", async () => {
    for (const init of inits) {
      expect(await ask(long(800), openaiChat, init)).toMatchObject(sent);
      expect(await ask(long(801), openaiChat, init)).toMatchObject({
        error: { reason: ErrorReason.CONTEXT_TOO_LONG, metadata: { context_tokens: "100" } },
        sent: 0,
        intents: 0,
      });
    }
  });

  test("counts tools, calls and results, but no pictures", async () => {
    const description = "a".repeat(801);
    const tools = [{ type: "function", function: { name: "f", description } }];
    const url = `data:image/png;base64,iVBORw0KGgo${"A".repeat(1_200)}=`;
    for (const init of inits) {
      const error = { reason: ErrorReason.CONTEXT_TOO_LONG };
      expect(await ask(chat({ tools }), openaiChat, init)).toMatchObject({ error });
      expect(await ask(chat({}, [{ type: "image_url", image_url: { url } }]), openaiChat, init)).toMatchObject(sent);
    }
  });
});

test("a client of the canonical form as JSON reads the canonical path", async () => {
  const body = {
    model: "alias",
    messages: [{ role: "ROLE_USER", parts: [{ image: { url: "https://host.example/a.png" } }] }],
  };
  expect(await ask(body, weirChat, { capabilities: { "*": { images: false } } })).toMatchObject({
    error: { reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: "messages[0].parts[0]" } },
  });
});
