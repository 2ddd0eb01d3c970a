import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect, test } from "vitest";
import { type JsonObject, writeJson } from "../json.ts";
import {
  readCountTokensAnswer,
  readCountTokensRequest,
  writeCountTokensAnswer,
  writeCountTokensRequest,
} from "./count-tokens.ts";

const contents = [{ role: "user", parts: [{ text: "hi" }] }];
const systemInstruction = { parts: [{ text: "be" }] };

test.each([
  { contents, systemInstruction },
  { generateContentRequest: { model: "models/m", contents, systemInstruction } },
  { generate_content_request: { model: "models/m", contents, system_instruction: systemInstruction } },
])("the request to count is read from %j", (body) => {
  expect(readCountTokensRequest(body).messages.map(({ role }) => role)).toEqual([Role.SYSTEM, Role.USER]);
});

test.each<[JsonObject, string]>([
  [{ contents, generateContentRequest: { contents } }, "contents"],
  [{ contents, labels: {} }, "labels"],
  [{}, "contents"],
])("refused: %j", (body, param) => {
  expect(() => readCountTokensRequest(body)).toThrow(expect.objectContaining({ metadata: { param } }) as Error);
});

test.each(["gemini-3-pro", "models/gemini-3-pro"])("a request is written for %s", (model) => {
  const request = create(GenerateRequestSchema, {
    messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text: "hi" } } }] }],
    user: "u",
  });
  const { body, warnings } = writeCountTokensRequest(request, { model, stream: false, maxOutputTokensDefault: 1 });
  expect(JSON.parse(writeJson(body))).toEqual({ generateContentRequest: { model: "models/gemini-3-pro", contents } });
  expect(warnings.map(({ param }) => param)).toEqual(["user"]);
});

test("answers", () => {
  expect(writeCountTokensAnswer(7)).toBe('{"totalTokens":7}');
  expect(readCountTokensAnswer({ totalTokens: 7, promptTokensDetails: [] })).toBe(7);
  for (const totalTokens of [undefined, -1, 1.5, "7"]) expect(readCountTokensAnswer({ totalTokens })).toBeUndefined();
});
