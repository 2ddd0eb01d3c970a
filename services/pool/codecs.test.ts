import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect, test } from "vitest";
import { chatCodecOf } from "./codecs.ts";

const request = create(GenerateRequestSchema, {
  messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text: "hi" } } }] }],
  maxOutputTokens: 9,
  user: "u",
});
const house = { id: "house", origin: "http://127.0.0.1:8000", usesMaxTokens: true, streamsUsage: true };

test.each([
  ["a server that nobody knows", house, { max_tokens: 9, user: "u", stream_options: { include_usage: true } }],
  [
    "a server with the newer names",
    { ...house, usesMaxTokens: false },
    { max_completion_tokens: 9, safety_identifier: "u", stream_options: { include_usage: true } },
  ],
  ["a server that knows no usage of streams", { ...house, streamsUsage: false }, { max_tokens: 9, user: "u" }],
  ["Mistral, as it is by itself", { ...house, id: "mistral", streamsUsage: false }, { max_tokens: 9 }],
  [
    "Mistral, as the configuration wants it",
    { ...house, origin: "https://api.mistral.ai", usesMaxTokens: false },
    { max_completion_tokens: 9, stream_options: { include_usage: true } },
  ],
])("%s gets members that it knows", (_, provider, members) => {
  const options = { model: "m", stream: true, maxOutputTokensDefault: 1 };
  const { model, messages, stream, ...rest } = chatCodecOf(provider).writeRequest(request, options).body;
  expect({ model, stream }).toEqual({ model: "m", stream: true });
  expect(messages).toHaveLength(1);
  expect(rest).toEqual(members);
});
