import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { requestsOf, withModel } from "./gemini-request.ts";
import { geminiBatchEmbedContents, geminiEmbedContent, geminiEmbeddings } from "./gemini.ts";
import { numRuns, options, overTheWire, parse, refusal, someText, vectors } from "./testing.ts";

const { readRequest, readExpectation, writeRequest, readAnswer, writeAnswer, paramIn } = geminiEmbeddings;
const content = { parts: [{ text: "hi" }] };
const batch = { requests: [{ content }] };

test("a request survives the way to JSON and back without a warning, with options of each input's own", () => {
  const input = fc.record({ content: someText, ...options }, { requiredKeys: ["content"] });
  fc.assert(
    fc.property(fc.array(input, { minLength: 1, maxLength: 5 }), (inputs) => {
      const request = { inputs, extensions: {} };
      const { body, warnings } = writeRequest(request, "m");
      expect(warnings).toEqual([]);
      const read = overTheWire(body);
      expect(readRequest(read)).toEqual(request);
      expect(readExpectation(read).dimensions).toEqual(inputs.map(({ dimensions }) => dimensions));
      const [one] = requestsOf(read);
      expect(readRequest(one?.request ?? {})).toEqual({ inputs: inputs.slice(0, 1), extensions: {} });
    }),
    { numRuns },
  );
});

test("an answer survives the way to JSON and back, in both forms", () => {
  fc.assert(
    fc.property(vectors, fc.nat(), (list, inputTokens) => {
      const answer = { vectors: list, model: "m", inputTokens };
      const usage = { sound: true, usage: { inputTokens, outputTokens: 0 } };
      expect(readAnswer(parse(writeAnswer(answer, batch)), list.length)).toMatchObject({ vectors: list, usage });
      const one = { ...answer, vectors: list.slice(0, 1) };
      expect(readAnswer(parse(writeAnswer(one, { content })), 1)).toMatchObject({ vectors: list.slice(0, 1), usage });
    }),
    { numRuns },
  );
});

test("no JSON makes the reader of answers throw", () => {
  const members = fc.constantFrom("embedding", "embeddings", "usageMetadata", "error");
  fc.assert(
    fc.property(fc.dictionary(members, fc.jsonValue()), (json) => {
      readAnswer(json, 1);
      geminiEmbeddings.readError(json);
    }),
    { numRuns },
  );
});

test("options are read in both spellings, beside the content or in their own member", () => {
  const dimensions = { dimensions: [3], encoding: "float" };
  expect(readExpectation({ content, output_dimensionality: 3 })).toEqual(dimensions);
  expect(readExpectation({ content, embedContentConfig: { outputDimensionality: 3, autoTruncate: true } })).toEqual(
    dimensions,
  );
  const [input] = readRequest({ content, embed_content_config: { task_type: "CLUSTERING", title: "t" } }).inputs;
  expect(input).toEqual({ content: "hi", task: "CLUSTERING", title: "t" });
});

test.each([
  [{}, "content"],
  [{ content: null }, "content"],
  [{ content: "hi" }, "content"],
  [{ content: {} }, "content.parts"],
  [{ content: { parts: [] } }, "content.parts"],
  [{ content: { parts: ["hi"] } }, "content.parts[0]"],
  [{ content: { parts: [{ text: "" }] } }, "content.parts[0].text"],
  [{ content, outputDimensionality: 0 }, "outputDimensionality"],
  [{ content, requests: [] }, "requests"],
])("one content is refused when it is %j", (body, param) => {
  expect(refusal(() => geminiEmbedContent.readEnvelope(body))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});

test.each([
  [{ content }, "requests"],
  [{ requests: null }, "requests"],
  [{ requests: {} }, "requests"],
  [{ requests: [] }, "requests"],
  [{ requests: Array.from({ length: 2_049 }, () => ({ content })) }, "requests"],
  [{ requests: [{ content }, 1] }, "requests[1]"],
  [{ requests: [{ content }, {}] }, "requests[1].content"],
  [{ requests: [{ content: { parts: [{ text: "" }] } }] }, "requests[0].content.parts[0].text"],
  [{ requests: [{ content, outputDimensionality: 1.5 }] }, "requests[0].outputDimensionality"],
])("a batch is refused when it is %j", (body, param) => {
  expect(refusal(() => geminiBatchEmbedContents.readEnvelope(body))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});

test("no output is reserved", () => {
  const envelope = { stream: false, includeUsage: false, maxOutputTokens: 0, choiceCount: 1 };
  expect(geminiEmbedContent.readEnvelope({ content })).toEqual(envelope);
  expect(geminiBatchEmbedContents.readEnvelope(batch)).toEqual(envelope);
});

test.each([
  [{ content, newMember: 1 }, "newMember"],
  [{ content: { ...content, newMember: 1 } }, "content.newMember"],
  [{ content: { parts: [{ text: "a", newMember: 1 }] } }, "content.parts[0].newMember"],
  [{ content: { parts: [{ inlineData: {} }] } }, "content.parts[0].inlineData"],
  [{ content: { parts: [{ text: "a" }, { text: "b" }] } }, "content.parts"],
  [{ content, embedContentConfig: { autoTruncate: true } }, "embedContentConfig.autoTruncate"],
  [{ ...batch, newMember: 1 }, "newMember"],
])("what other providers cannot be told is refused in translation alone: %j", (body, param) => {
  expect(refusal(() => readRequest(body))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
  expect(readExpectation(body).dimensions).toHaveLength(1);
});

test("the target's model stands wherever a client named one, and in each request of a batch", () => {
  expect(withModel({ content }, "m")).toEqual({ content });
  expect(withModel({ content, model: "models/alias" }, "m")).toEqual({ content, model: "models/m" });
  expect(
    withModel({ model: "models/alias", requests: [{ content }, { content, model: "models/other" }] }, "m"),
  ).toEqual({
    model: "models/m",
    requests: [
      { content, model: "models/m" },
      { content, model: "models/m" },
    ],
  });
  expect(withModel({ content, model: "x" }, "tunedModels/m")).toEqual({ content, model: "tunedModels/m" });
});

test("tokens are refused", () => {
  const request = { inputs: [{ content: "a" }, { content: [1] }], extensions: {} };
  expect(refusal(() => writeRequest(request, "m"))).toEqual([ErrorReason.TARGET_UNSUPPORTED, "inputs[1]"]);
});

test("paths of the canonical request have their names here", () => {
  const paths = ["inputs", "inputs[2]", "dimensions", "task", "title", "user"];
  expect(paths.map((path) => paramIn(path, batch))).toEqual([
    "requests",
    "requests[2].content",
    "requests[0].outputDimensionality",
    "requests[0].taskType",
    "requests[0].title",
    "user",
  ]);
  expect(paths.map((path) => paramIn(path, { content }))).toEqual([
    "content",
    "content",
    "outputDimensionality",
    "taskType",
    "title",
    "user",
  ]);
});
