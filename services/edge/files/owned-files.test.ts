import { create, toBinary } from "@bufbuild/protobuf";
import { ChatService, GenerateRequestSchema, GenerateResponseSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { callMetadata, hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { createManualClock } from "../testing/manual-clock.ts";
import type { Reach } from "./collections.ts";
import { withOwnedFiles } from "./owned-files.ts";

const owned = new Set(["acme file-1", "acme file-2", "acme vs_a1", "acme vs_b1"]);

/** Chats behind the check, and what reached them and the records. */
function setUp(records: "there" | "away" | "never answer" = "there") {
  const clock = createManualClock();
  const asked: string[][] = [];
  let chats = 0;
  const resources = createClient(
    ResourceService,
    createLocalDoor([
      hostService(ResourceService, {
        async findResources({ resourceIds }, context) {
          asked.push(resourceIds);
          if (records === "away") throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
          if (records === "never answer") await new Promise(() => undefined);
          const tenant = context.requestHeader.get("weir-principal-bin") === asTenant("acme") ? "acme" : "other";
          const missing = resourceIds.find((id) => !owned.has(`${tenant} ${id}`));
          if (missing !== undefined) throw new WeirError(ErrorReason.NOT_FOUND, { metadata: { resource: missing } });
          const kindOf = (id: string) => (id.startsWith("vs_") ? "vector_store" : "file");
          return { resources: resourceIds.map((resourceId) => ({ resourceId, kind: kindOf(resourceId) })) };
        },
      }),
    ]),
  );
  const inner = createClient(
    ChatService,
    createLocalDoor([
      hostService(ChatService, {
        async *generate() {
          chats += 1;
          yield create(GenerateResponseSchema, {});
        },
        countTokens() {
          chats += 1;
          return Promise.resolve({ inputTokens: 1 });
        },
      }),
    ]),
  );
  const chat = withOwnedFiles({ chat: inner, resources, clock });
  return { chat, asked, clock, chats: () => chats };
}

function asTenant(tenant: string): string {
  return Buffer.from(toBinary(PrincipalSchema, create(PrincipalSchema, { tenant, key: "k" }))).toString("base64");
}

const everything = { collections: [], mayReach: () => true };
const onlyA = { collections: ["vs_a*"], mayReach: (id: string) => id.startsWith("vs_a") };

const as = (tenant: string, caller: Reach = everything) => ({
  metadata: callMetadata(asTenant(tenant), "req_1", undefined),
  caller,
});

function naming(...ids: string[]) {
  const body = Buffer.from(
    JSON.stringify({ model: "m", input: ids.map((file_id) => ({ type: "input_file", file_id })) }),
  );
  return create(GenerateRequestSchema, { model: "m", wire: { dialect: Dialect.OPENAI_RESPONSES, body } });
}

test("a request that names no file asks nobody", async () => {
  const { chat, asked, chats } = setUp("away");
  const body = Buffer.from('{"model":"m","messages":[{"role":"user","content":"hi"}]}');
  const request = create(GenerateRequestSchema, { model: "m", wire: { dialect: Dialect.OPENAI_CHAT, body } });
  for await (const _ of chat.generate(request, as("acme")));
  expect([asked.length, chats()]).toEqual([0, 1]);
});

test("the tenant's own files may be named; for a minute nobody is asked again", async () => {
  const { chat, asked, clock, chats } = setUp();
  for await (const _ of chat.generate(naming("file-1"), as("acme")));
  for await (const _ of chat.generate(naming("file-1", "file-2"), as("acme")));
  expect(asked).toEqual([["file-1"], ["file-2"]]);
  clock.advance(60_001);
  for await (const _ of chat.generate(naming("file-1"), as("acme")));
  expect([asked.length, chats()]).toEqual([3, 3]);
});

test("another tenant's, and nobody's, are not there, also once their owner has named them", async () => {
  const { chat, chats } = setUp();
  for await (const _ of chat.generate(naming("file-1"), as("acme")));
  const missing = { reason: ErrorReason.NOT_FOUND };
  await expect(chat.generate(naming("file-1"), as("other")).next()).rejects.toMatchObject(missing);
  await expect(chat.generate(naming("file-9"), as("acme")).next()).rejects.toMatchObject(missing);
  await expect(chat.countTokens({ request: naming("file-1") }, as("other"))).rejects.toMatchObject(missing);
  await expect(chat.generate(naming("x".repeat(300)), as("acme")).next()).rejects.toMatchObject(missing);
  expect(chats()).toBe(1);
});

test("when the records are away no file may be named, and the provider is not asked", async () => {
  const { chat, chats } = setUp("away");
  const away = { reason: ErrorReason.STORE_UNAVAILABLE };
  await expect(chat.generate(naming("file-1"), as("acme")).next()).rejects.toMatchObject(away);
  await expect(chat.countTokens({ request: naming("file-1") }, as("acme"))).rejects.toMatchObject(away);
  expect(chats()).toBe(0);
});

test("a call without a caller names nothing", async () => {
  const { chat } = setUp();
  const forbidden = { reason: ErrorReason.FORBIDDEN };
  await expect(chat.generate(naming("file-1")).next()).rejects.toMatchObject(forbidden);
  const { metadata } = as("acme");
  await expect(chat.generate(naming("file-1"), { metadata }).next()).rejects.toMatchObject(forbidden);
});

test("a collection that the caller is confined away from is not there, known or not, and files are", async () => {
  const { chat, asked, chats } = setUp();
  const missing = (resource: string) => ({ reason: ErrorReason.NOT_FOUND, metadata: { resource } });
  await expect(chat.generate(naming("vs_b1"), as("acme", onlyA)).next()).rejects.toMatchObject(missing("vs_b1"));
  await expect(chat.generate(naming("vs_c1"), as("acme", onlyA)).next()).rejects.toMatchObject(missing("vs_c1"));
  for await (const _ of chat.generate(naming("vs_a1", "vs_b1", "file-1"), as("acme")));
  for await (const _ of chat.generate(naming("vs_a1", "file-1"), as("acme", onlyA)));
  expect([asked.length, chats()]).toEqual([3, 2]);
  await expect(chat.generate(naming("vs_b1"), as("acme", onlyA)).next()).rejects.toMatchObject(missing("vs_b1"));
  const counted = chat.countTokens({ request: naming("vs_a1", "vs_b1") }, as("acme", onlyA));
  await expect(counted).rejects.toMatchObject(missing("vs_b1"));
  expect(chats()).toBe(2);
});

test("a caller that is confined to collections names no stores of which nothing is on record", async () => {
  const { chat, asked, chats } = setUp();
  const forbidden = { reason: ErrorReason.FORBIDDEN, metadata: { scope: "collections" } };
  const wires = [
    '{"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/x"]}}]}',
    '{"tools":[{"file_search":{"f\\u0069le_search_store_names":["fileSearchStores/x"]}}]}',
    '{"tools":[{"retrieval":{"vertexAiSearch":{"datastore":"d"}}}],"tools":[]}',
    '{"data_sources":[{"type":"azure_search"}]}',
  ].map((body) =>
    create(GenerateRequestSchema, { model: "m", wire: { dialect: Dialect.GEMINI, body: Buffer.from(body) } }),
  );
  const settings = { fileSearchStoreNames: ["fileSearchStores/x"] };
  const messages = [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }];
  const tool = { kind: { case: "server" as const, value: { type: "fileSearch", settings } } };
  for (const request of [...wires, create(GenerateRequestSchema, { model: "m", messages, tools: [tool] })]) {
    await expect(chat.generate(request, as("acme", onlyA)).next()).rejects.toMatchObject(forbidden);
    for await (const _ of chat.generate(request, as("acme")));
  }
  expect([asked.length, chats()]).toEqual([0, 5]);
  const body = Buffer.from('{"messages":[{"content":"\\"data_sources\\": vertexRagStore"}]}');
  const request = create(GenerateRequestSchema, { model: "m", wire: { dialect: Dialect.OPENAI_CHAT, body } });
  for await (const _ of chat.generate(request, as("acme", onlyA)));
});

test("a caller that leaves while its files are looked up makes no call", async () => {
  const { chat, chats } = setUp("never answer");
  const reply = chat.generate(naming("file-1"), as("acme"));
  const first = reply.next();
  await reply.return();
  expect(await first).toMatchObject({ done: true });
  expect(chats()).toBe(0);
});
