import { create } from "@bufbuild/protobuf";
import { dropped } from "@weir/dialect/events";
import { gemini } from "@weir/dialect/gemini/codec";
import { ollama } from "@weir/dialect/ollama/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { weirGenerate } from "@weir/dialect/weir-generate/codec";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { expect, test } from "vitest";
import { type NamingCodec, paramIn, warningsIn } from "./client-params.ts";

/** What the members of a body are called when a target is not told of them. */
function toldOf(client: NamingCodec, request: ReturnType<typeof openaiChat.readRequest>): string[] {
  const warnings = Object.keys(request.extensions).map((name) => dropped(`extensions.${name}`, "another"));
  return warningsIn(client, request, warnings).map(({ code, param }) => `${code} ${param}`);
}

const messages = [{ role: "user", content: "hi" }];

test("members that only the client's dialect knows are told by their names", () => {
  const chat = openaiChat.readRequest({ model: "m", messages, vendor_hint: { a: 1 }, other_hint: 2 });
  expect(toldOf(openaiChat, chat)).toEqual(["field_dropped vendor_hint", "field_dropped other_hint"]);
  const plain = weirGenerate.readRequest({ model: "m", prompt: "hi", vendor_hint: 1 });
  expect(toldOf(weirGenerate, plain)).toEqual(["field_dropped vendor_hint"]);
});

test("members of an object whose other members arrive are told one by one", () => {
  const request = gemini.readRequest({
    contents: [{ role: "user", parts: [{ text: "hi" }] }],
    safetySettings: [{ category: "x" }],
    generationConfig: { temperature: 0.5, mediaResolution: "low", speechConfig: { languageCode: "de" } },
  });
  expect(toldOf(gemini, request).toSorted()).toEqual([
    "field_dropped generationConfig.mediaResolution",
    "field_dropped generationConfig.speechConfig.languageCode",
    "field_dropped safetySettings",
  ]);
});

test("of very many members the first are told, and that there are more", () => {
  const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`x${index}`, index]));
  const told = toldOf(openaiChat, openaiChat.readRequest({ model: "m", messages, ...many }));
  expect(told).toHaveLength(33);
  expect(told.slice(31)).toEqual(["field_dropped x31", "field_dropped extensions.openai-chat"]);
});

test("extensions for other dialects keep the path under which the caller wrote them", () => {
  const request = create(GenerateRequestSchema, { extensions: { gemini: { a: 1 } } });
  expect(toldOf(openaiChat, request)).toEqual(["field_dropped extensions.gemini"]);
});

test("a path below what a dialect knows is named by its longest known beginning", () => {
  expect(paramIn(openaiChat, "sampling.top_p")).toBe("top_p");
  expect(paramIn(openaiChat, "messages[3].parts[1].image")).toBe("messages[3]");
  expect(paramIn(openaiChat, "nothing.of.it")).toBe("nothing.of.it");
});

test("what asks for probabilities is told by the member that every such request has", () => {
  expect(openaiChat.readRequest({ model: "m", messages, logprobs: true }).topLogprobs).toBe(0);
  expect([openaiChat, ollama].map((client) => paramIn(client, "top_logprobs"))).toEqual(["logprobs", "logprobs"]);
});
