import { GoogleGenAI } from "@google/genai";
import { OpenAIEmbeddings } from "@langchain/openai";
import OpenAI, { APIError, AzureOpenAI } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { usableKey } from "../../e2e/client.ts";
import { joinedInputsMax, joining, type Setting, startSetting, vendorNames } from "./setting.ts";
import { ownLength, tokensOf, vectorOf } from "./vendors.ts";

let started: Setting | undefined;
beforeAll(async () => {
  started = await startSetting();
});
afterAll(() => started?.close());

function running(): Setting {
  if (started === undefined) throw new Error("the gateway did not start");
  return started;
}

const openai = () => new OpenAI({ baseURL: `${running().weir.url}/v1`, apiKey: running().weir.key, maxRetries: 0 });
const genai = () => new GoogleGenAI({ apiKey: running().weir.key, httpOptions: { baseUrl: running().weir.url } });
const texts = ["one", "two words", "three words here"];
const words = texts.map(tokensOf).reduce((sum, count) => sum + count, 0);
const vectors = texts.map((text) => vectorOf(text));

describe.each(vendorNames)("the official OpenAI client before %s", (vendor) => {
  const model = `${vendor}/embed`;

  test("reads vectors that it asked for in base64, as it does by default", async () => {
    const answer = await openai().embeddings.create({ model, input: texts });
    expect(answer.data.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(answer.data.map(({ embedding }) => embedding)).toEqual(vectors);
    expect(answer.model).toBe("embed");
  });

  test("gets base64 itself when it asks for it", async () => {
    const answer = await openai().embeddings.create({ model, input: "one", encoding_format: "base64" });
    const [data] = answer.data;
    expect(Buffer.from(String(data?.embedding), "base64")).toEqual(
      Buffer.from(new Float32Array(vectorOf("one")).buffer),
    );
  });

  test("gets numbers, and of the length that it asks for", async () => {
    const answer = await openai().embeddings.create({
      model,
      input: texts,
      encoding_format: "float",
      dimensions: 3,
      user: "u",
    });
    expect(answer.data.map(({ embedding }) => embedding)).toEqual(texts.map((text) => vectorOf(text, 3)));
  });

  test("gets as many vectors as it sent texts, each in its place", async () => {
    const many = Array.from({ length: 500 }, (_, index) => `text ${index}`);
    const answer = await openai().embeddings.create({ model, input: many });
    expect(answer.data.map(({ embedding }) => embedding)).toEqual(many.map((text) => vectorOf(text)));
  });

  test("is told of the tokens, which stand in the ledger as the vendor reported them or as they were counted", async () => {
    const { data, request_id } = await openai().embeddings.create({ model, input: texts }).withResponse();
    const [row, ...rest] = await ledgerRows(request_id);
    expect(rest).toEqual([]);
    const reported = vendor !== "gemini";
    expect(row).toMatchObject({
      provider: vendor,
      model: "embed",
      alias: model,
      outcome: "completed",
      stream: false,
      usageSource: reported ? "reported" : "counted",
      outputTokens: 0,
    });
    if (reported) expect(row?.inputTokens).toBe(words);
    expect(data.usage).toEqual({ prompt_tokens: row?.inputTokens, total_tokens: row?.inputTokens });
    expect(row?.costNanoUsd).toBe(2_000n * BigInt(row?.inputTokens ?? 0));
  });

  test("sends tokens, which only vendors of OpenAI's dialect take", async () => {
    const answer = openai().embeddings.create({ model, input: [[1, 2, 3], [4]] });
    if (vendor === "openai" || vendor === "plain") {
      expect((await answer).data.map(({ embedding }) => embedding)).toEqual([vectorOf([1, 2, 3]), vectorOf([4])]);
    } else {
      await expect(answer).rejects.toMatchObject({ status: 400, param: "input[0]", type: "invalid_request_error" });
    }
  });
});

describe("the official OpenAI client", () => {
  test.each([
    [{ model: "openai/embed", input: "" }, "input"],
    [{ model: "openai/embed", input: ["a", ""] }, "input[1]"],
    [{ model: "openai/embed", input: [] }, "input"],
    [{ model: "openai/embed", input: "a", dimensions: 0 }, "dimensions"],
  ])("raises on %j", async (body, param) => {
    const before = running().vendors.openai.calls.length;
    const error = await openai()
      .embeddings.create(body)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(APIError);
    expect(error).toMatchObject({ status: 400, param, type: "invalid_request_error" });
    expect(running().vendors.openai.calls).toHaveLength(before);
  });

  test("finds embeddings at the paths of a base URL without a version, and of Azure's deployments", async () => {
    const { url, key } = running().weir;
    const bare = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
    expect((await bare.embeddings.create({ model: "openai/embed", input: "one" })).data).toHaveLength(1);
    const azure = new AzureOpenAI({ endpoint: url, apiKey: key, apiVersion: "2024-10-21", maxRetries: 0 });
    const answer = await azure.embeddings.create({ model: "plain/embed", input: "one" });
    expect(answer.data[0]?.embedding).toEqual(vectorOf("one"));
  });

  test("is held to the limits of its key, with no output reserved", async () => {
    const { weir } = running();
    const apiKey = await usableKey(weir, { tokensPerMinute: 100 });
    const client = new OpenAI({ baseURL: `${weir.url}/v1`, apiKey, maxRetries: 0 });
    const short = await client.embeddings.create({ model: "openai/embed", input: "one" }).withResponse();
    expect(short.response.headers.get("x-ratelimit-remaining-tokens")).toBe("99");
    const long = client.embeddings.create({ model: "openai/embed", input: "word ".repeat(200) });
    await expect(long).rejects.toMatchObject({ status: 429 });
  });
});

describe.each(vendorNames)("the official Gemini client before %s", (vendor) => {
  const model = `${vendor}/embed`;

  test("reads vectors, of the length that it asks for", async () => {
    const answer = await genai().models.embedContent({ model, contents: texts });
    expect(answer.embeddings?.map(({ values }) => values)).toEqual(vectors);
    const config = { outputDimensionality: 3, taskType: "CLUSTERING" };
    const short = await genai().models.embedContent({ model, contents: "one", config });
    expect(short.embeddings?.map(({ values }) => values)).toEqual([vectorOf("one", 3)]);
    const { path, body } = running().vendors[vendor].calls.at(-1) ?? {};
    if (vendor === "gemini") {
      expect(path).toBe("/v1beta/models/embed:batchEmbedContents");
      expect(body?.["requests"]).toMatchObject([{ taskType: "CLUSTERING" }]);
    } else {
      expect(JSON.stringify(body)).not.toContain("CLUSTERING");
    }
  });

  test("and a request for one content, as other clients send it, are answered in its form", async () => {
    const { url, key } = running().weir;
    const response = await fetch(`${url}/v1beta/models/${model}:embedContent`, {
      method: "POST",
      headers: { "x-goog-api-key": key, "content-type": "application/json" },
      body: JSON.stringify({ content: { parts: [{ text: "one" }] }, taskType: "RETRIEVAL_QUERY" }),
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ embedding: { values: vectorOf("one") } });
    expect(response.headers.get("x-weir-model")).toBe(`${vendor}/embed`);
    expect(response.headers.get("x-weir-warnings")).toBe(vendor === "gemini" ? null : "field_dropped taskType");
  });
});

test("the official Gemini client raises on a content without text", async () => {
  const contents = [{ parts: [{ text: "" }] }];
  await expect(genai().models.embedContent({ model: "gemini/embed", contents })).rejects.toMatchObject({ status: 400 });
});

describe.each(vendorNames)("LangChain's embeddings before %s", (vendor) => {
  const embeddings = (fields: object = {}) =>
    new OpenAIEmbeddings({
      model: `${vendor}/embed`,
      apiKey: running().weir.key,
      configuration: { baseURL: `${running().weir.url}/v1` },
      maxRetries: 0,
      ...fields,
    });

  test("embed documents in several requests, and a query", async () => {
    expect(await embeddings({ batchSize: 2 }).embedDocuments(texts)).toEqual(vectors);
    expect(await embeddings().embedQuery("one")).toHaveLength(ownLength);
    expect(await embeddings({ dimensions: 3, encodingFormat: "float" }).embedQuery("one")).toEqual(vectorOf("one", 3));
  });
});

test("calls that were joined are answered each for itself, and their rows add up to what the vendor billed", async () => {
  const { openai: vendor } = running().vendors;
  const before = vendor.calls.length;
  const release = vendor.hold();
  const model = `${joining}/embed`;
  const input = (index: number) => "word ".repeat(index % 4).concat(String(index));
  const ask = (index: number) =>
    openai()
      .embeddings.create({ model, input: input(index) })
      .withResponse();
  const first = ask(0);
  await until(() => vendor.calls.length === before + 1);
  const others = Array.from({ length: 4 * joinedInputsMax }, (_, index) => ask(index + 1));
  await until(() => vendor.calls.length === before + 5);
  release();
  const answers = await Promise.all([first, ...others]);
  expect(answers.map(({ data }) => data.data.map(({ embedding }) => embedding))).toEqual(
    answers.map((_, index) => [vectorOf(input(index))]),
  );
  const rows = (await Promise.all(answers.map(({ request_id }) => ledgerRows(request_id)))).flat();
  expect(rows).toHaveLength(answers.length);
  const billed = answers.reduce((total, _, index) => total + tokensOf(input(index)), 0);
  expect(rows.reduce((total, { inputTokens = 0 }) => total + inputTokens, 0)).toBe(billed);
  expect(rows.map(({ usageSource }) => usageSource)).toEqual(["reported", ...others.map(() => "counted")]);
  for (const [index, { data }] of answers.entries()) expect(data.usage.prompt_tokens).toBe(rows[index]?.inputTokens);
});

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries += 1) {
    if (tries === 400) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The rows of a request, once it is settled. */
async function ledgerRows(requestId: string | null) {
  for (let tries = 0; tries < 400; tries += 1) {
    const rows = await running().weir.ledger.rows({ requestId: requestId ?? "" });
    if (rows.length > 0) return rows;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("nothing was settled");
}
