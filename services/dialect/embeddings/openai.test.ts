import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkVectors } from "./expectation.ts";
import { openaiEmbeddings } from "./openai.ts";
import { inputs, numRuns, overTheWire, parse, refusal, someText, vectors } from "./testing.ts";

const { readEnvelope, readExpectation, readRequest, writeRequest, readAnswer, writeAnswer, paramIn } = openaiEmbeddings;
const body = { model: "m", input: "hi" };

test("a request survives the way to JSON and back without a warning", () => {
  const request = fc.record(
    {
      inputs,
      encoding: fc.constantFrom("float" as const, "base64" as const),
      user: someText,
      extensions: fc
        .dictionary(fc.constantFrom("input_type", "new_member"), fc.oneof(fc.string(), fc.integer()), { minKeys: 1 })
        .map((members) => ({ "openai-embeddings": members })),
    },
    { requiredKeys: ["inputs", "encoding"] },
  );
  fc.assert(
    fc.property(request, (made) => {
      const sent = { extensions: {}, ...made };
      const writing = writeRequest(sent, "m");
      expect(writing.warnings).toEqual([]);
      const read = overTheWire(writing.body);
      expect(readRequest(read)).toEqual(sent);
      expect(readEnvelope(read)).toMatchObject({ model: "m", stream: false, maxOutputTokens: 0, choiceCount: 1 });
      expect(readExpectation(read)).toEqual({
        dimensions: sent.inputs.map(({ dimensions }) => dimensions),
        encoding: sent.encoding,
      });
    }),
    { numRuns },
  );
});

test("an answer survives the way to JSON and back, in whatever order it stands", () => {
  fc.assert(
    fc.property(vectors, fc.nat(), fc.infiniteStream(fc.nat()), (list, inputTokens, order) => {
      const json = parse(writeAnswer({ vectors: list, model: "m", inputTokens }, body));
      const data = json["data"] as object[];
      const shuffled = data
        .map((item) => ({ item, at: order.next().value }))
        .sort((a, b) => Number(a.at) - Number(b.at));
      const read = readAnswer({ ...json, data: shuffled.map(({ item }) => item) }, list.length);
      expect(read).toMatchObject({
        vectors: list,
        model: "m",
        usage: { sound: true, usage: { inputTokens, outputTokens: 0 } },
      });
      expect(read?.ordered).toBe(shuffled.every(({ item }, index) => item === data[index]));
      const dimensions = list.map(() => undefined);
      expect(checkVectors(read?.vectors ?? [], dimensions)).toEqual(list);
    }),
    { numRuns },
  );
});

test("an answer without any index is in the order of the inputs", () => {
  expect(readAnswer({ data: [{ embedding: [1] }, { embedding: [2] }] }, 2)).toMatchObject({
    vectors: [[1], [2]],
    ordered: true,
  });
});

test("no JSON makes the reader of answers throw", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom("data", "usage", "model", "error"), fc.jsonValue()),
      fc.nat(3),
      (json, count) => {
        readAnswer(json, count);
        openaiEmbeddings.readError(json);
      },
    ),
    { numRuns },
  );
});

test("usage is the input alone; a total without its part stands for it", () => {
  const usage = (counts: object) => readAnswer({ data: [], usage: counts }, 0)?.usage;
  const of = (inputTokens: number, sound = true) => ({ usage: { inputTokens, outputTokens: 0 }, sound });
  expect(usage({ prompt_tokens: 3, total_tokens: 3 })).toMatchObject(of(3));
  expect(usage({ total_tokens: 3 })).toMatchObject(of(3));
  expect(usage({ prompt_tokens: 3, total_tokens: 4 })).toMatchObject(of(3, false));
  expect(usage({ prompt_tokens: -1, total_tokens: 4 })).toMatchObject(of(4, false));
  expect(usage({})).toBeUndefined();
  expect(usage({ prompt_tokens: "3" })).toBeUndefined();
  expect(usage({ prompt_tokens: 2 ** 32 })).toBeUndefined();
});

describe("the envelope", () => {
  test("names model and user, and reserves no output", () => {
    expect(readEnvelope({ ...body, user: "u", dimensions: 65_536, encoding_format: null })).toEqual({
      model: "m",
      stream: false,
      includeUsage: false,
      maxOutputTokens: 0,
      choiceCount: 1,
      user: "u",
    });
  });

  test("takes every form of input", () => {
    const count = (input: unknown) => readExpectation({ model: "m", input }).dimensions.length;
    expect(count("hi")).toBe(1);
    expect(count([1, 2])).toBe(1);
    expect(count(["a", "b"])).toBe(2);
    expect(count([[1], [2, 3], [0]])).toBe(3);
    expect(count(Array.from({ length: 2_048 }, () => "a"))).toBe(2_048);
  });

  test.each([
    [{ model: undefined }, "model"],
    [{ model: "" }, "model"],
    [{ model: "x".repeat(513) }, "model"],
    [{ input: undefined }, "input"],
    [{ input: null }, "input"],
    [{ input: 1 }, "input"],
    [{ input: {} }, "input"],
    [{ input: "" }, "input"],
    [{ input: [] }, "input"],
    [{ input: Array.from({ length: 2_049 }, () => "a") }, "input"],
    [{ input: ["a", [1]] }, "input"],
    [{ input: [[1], "a"] }, "input"],
    [{ input: ["a", ""] }, "input[1]"],
    [{ input: [[1], []] }, "input[1]"],
    [{ input: ["a", 1] }, "input[1]"],
    [{ input: ["a", null] }, "input[1]"],
    [{ input: [1, "a"] }, "input"],
    [{ input: [1, 1.5] }, "input"],
    [{ input: [1, -1] }, "input"],
    [{ input: [[1], [[2]]] }, "input[1]"],
    [{ dimensions: 0 }, "dimensions"],
    [{ dimensions: 1.5 }, "dimensions"],
    [{ dimensions: 65_537 }, "dimensions"],
    [{ dimensions: "3" }, "dimensions"],
    [{ encoding_format: "int8" }, "encoding_format"],
    [{ encoding_format: 1 }, "encoding_format"],
    [{ user: 1 }, "user"],
    [{ user: "x".repeat(257) }, "user"],
  ])("refuses %j", (part, param) => {
    expect(refusal(() => readEnvelope({ ...body, ...part }))).toEqual([ErrorReason.INVALID_REQUEST, param]);
  });
});

test("inputs that want different lengths cannot be asked for at once", () => {
  const request = { inputs: [{ content: "a", dimensions: 1 }, { content: "b" }], extensions: {} };
  expect(refusal(() => writeRequest(request, "m"))).toEqual([ErrorReason.TARGET_UNSUPPORTED, "dimensions"]);
});

test("paths of the canonical request have their names here", () => {
  const paths = ["inputs", "inputs[2]", "dimensions", "encoding", "user", "task", "extensions.openai-embeddings.x"];
  expect(paths.map((path) => paramIn(path, body))).toEqual([
    "input",
    "input[2]",
    "dimensions",
    "encoding_format",
    "user",
    "task_type",
    "x",
  ]);
});
