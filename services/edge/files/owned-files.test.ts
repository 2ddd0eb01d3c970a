import { create } from "@bufbuild/protobuf";
import { ChatService, GenerateRequestSchema, GenerateResponseSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { missingResource } from "@weir/kit/missing-resource";
import { expect, test } from "vitest";
import type { Names } from "./kept-names.ts";
import { withOwnedFiles } from "./owned-files.ts";

/** Chats behind the check, what reached them, and what was to be checked. */
function setUp(check: "knows" | "never answers" = "knows") {
  const checked: (Names & { readonly alias: string })[] = [];
  let chats = 0;
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
  const chat = withOwnedFiles(inner, {
    async check(names, { alias }) {
      checked.push({ ...names, alias });
      if (check === "never answers") await new Promise(() => undefined);
      const [missing] = [...names.ids.filter((id) => id !== "file-1"), ...names.members];
      if (missing !== undefined) throw missingResource(missing);
    },
  });
  return { chat, checked, chats: () => chats };
}

const options = {
  metadata: {},
  caller: { id: "k", principal: new Uint8Array(), collections: [], mayReach: () => true },
};

function wire(body: object, model = "m") {
  const bytes = Buffer.from(JSON.stringify(body));
  return create(GenerateRequestSchema, { model, wire: { dialect: Dialect.OPENAI_RESPONSES, body: bytes } });
}

const naming = (...ids: string[]) => wire({ input: ids.map((file_id) => ({ type: "input_file", file_id })) });

test("a request that names nothing goes on at once, in a dialect and in the canonical form", async () => {
  const { chat, checked, chats } = setUp();
  const messages = [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }];
  for (const request of [wire({ input: "hi" }), create(GenerateRequestSchema, { model: "m", messages })]) {
    for await (const _ of chat.generate(request, options));
    await chat.countTokens({ request }, options);
  }
  expect([checked.length, chats()]).toEqual([0, 4]);
});

test("one that names what is its caller's goes on when that is known, any other one reaches nobody", async () => {
  const { chat, chats } = setUp();
  for await (const _ of chat.generate(naming("file-1"), options));
  await chat.countTokens({ request: naming("file-1") }, options);
  expect(chats()).toBe(2);
  const missing = { reason: ErrorReason.NOT_FOUND };
  const extensions = { gemini: { cachedContent: "cachedContents/1" } };
  for (const request of [
    naming("file-1", "file-2"),
    wire({ prompt: { id: "p" } }),
    create(GenerateRequestSchema, { model: "m", extensions }),
  ]) {
    await expect(chat.generate(request, options).next()).rejects.toMatchObject(missing);
    await expect(chat.countTokens({ request }, options)).rejects.toMatchObject(missing);
  }
  expect(chats()).toBe(2);
});

test("of a request that goes on with a stored response, what the client sent is checked, and not the response", async () => {
  const { chat, checked, chats } = setUp();
  const whole = wire({ input: [{ type: "code_interpreter_call", id: "ci_1", container_id: "cntr_1" }] });
  const sent = wire({ input: "go on", previous_response_id: "resp_1" });
  for await (const _ of chat.generate(whole, { ...options, sent }));
  await chat.countTokens({ request: whole }, { ...options, sent });
  expect(chats()).toBe(2);
  expect(checked).toMatchObject([{ members: [] }, { members: [] }]);
  const naming2 = wire({ input: [{ type: "input_file", file_id: "file-2" }], previous_response_id: "resp_1" });
  await expect(chat.generate(whole, { ...options, sent: naming2 }).next()).rejects.toMatchObject({
    reason: ErrorReason.NOT_FOUND,
  });
  // Over gRPC nobody puts the response in its place.
  await expect(chat.generate(sent, options).next()).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
});

test("a model that may be somebody's is asked about, by the name that routes know", async () => {
  const { chat, checked } = setUp();
  for await (const _ of chat.generate(wire({ input: "hi" }, "models/ft:small:acme::1"), options));
  expect(checked).toMatchObject([{ alias: "ft:small:acme::1", ids: [], members: [] }]);
});

test("a caller that leaves while it is asked whose its files are makes no call", async () => {
  const { chat, chats } = setUp("never answers");
  const reply = chat.generate(naming("file-1"), options);
  const first = reply.next();
  await reply.return();
  expect(await first).toMatchObject({ done: true });
  expect(chats()).toBe(0);
});
