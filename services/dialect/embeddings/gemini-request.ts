import type { Envelope, RequestWriting } from "../codec.ts";
import { invalid, untranslatable } from "../faults.ts";
import { readList, readObject, readText, readWhole, required, requiredObject } from "../fields.ts";
import { knownMembers, memberNames, sortMembers } from "../gemini/members.ts";
import type { JsonObject } from "../json.ts";
import { dimensionsMax, type EmbeddingInput, type EmbeddingRequest, type Expectation, inputsMax } from "./embedding.ts";
import { omissionsOf, textsOf } from "./omissions.ts";

/** The name of this dialect in warnings. */
export const geminiName = "gemini-embeddings";

const requestNames = memberNames("model content taskType title outputDimensionality embedContentConfig");
const optionNames = memberNames("taskType title outputDimensionality");
const contentNames = memberNames("role parts");
const partNames = memberNames("text");
const wordLengthMax = 1_024;

/** Whether a body is one of `batchEmbedContents`. */
export function isBatch(body: JsonObject): boolean {
  return body["requests"] !== undefined;
}

/** Reads the body of `embedContent`. @throws WeirError INVALID_REQUEST with `param` */
export function readOneEnvelope(body: JsonObject): Envelope {
  if (isBatch(body)) throw invalid("`requests` is for `batchEmbedContents`.", "requests");
  return readEnvelope(body);
}

/** Reads the body of `batchEmbedContents`. @throws WeirError INVALID_REQUEST with `param` */
export function readBatchEnvelope(body: JsonObject): Envelope {
  required(body["requests"], "requests");
  return readEnvelope(body);
}

/**
 * Reads what limits and routing need: model and verb stand in the path, and no output is made, so that none is reserved.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  readExpectation(body);
  return { stream: false, includeUsage: false, maxOutputTokens: 0, choiceCount: 1 };
}

/** @throws WeirError INVALID_REQUEST with `param` */
export function readExpectation(body: JsonObject): Expectation {
  return { dimensions: requestsOf(body).map(readDimensions), encoding: "float" };
}

/** One request for one vector, and where it stands in the body: empty when it is the body. */
export interface PlacedRequest {
  readonly request: JsonObject;
  readonly param: string;
}

/** The requests of a body. @throws WeirError INVALID_REQUEST with `param` when there is none, or one has no content */
export function requestsOf(body: JsonObject): readonly PlacedRequest[] {
  const requests = isBatch(body)
    ? required(readList(body["requests"], "requests"), "requests").map((request, index) => {
        const param = `requests[${index}]`;
        return { request: requiredObject(request, param), param };
      })
    : [{ request: body, param: "" }];
  if (requests.length === 0) throw invalid("`requests` must hold at least one request.", "requests");
  if (requests.length > inputsMax) throw invalid(`\`requests\` may hold at most ${inputsMax} requests.`, "requests");
  for (const { request, param } of requests) checkContent(request, param);
  return requests;
}

function checkContent(request: JsonObject, param: string): void {
  const at = below(param, "content");
  const { parts } = sortMembers(requiredObject(request["content"], at), contentNames, at).known;
  const list = required(readList(parts, `${at}.parts`), `${at}.parts`);
  if (list.length === 0) throw invalid(`\`${at}.parts\` must hold at least one part.`, `${at}.parts`);
  for (const [index, part] of list.entries()) {
    if (requiredObject(part, `${at}.parts[${index}]`)["text"] === "") {
      throw invalid("A text must not be empty.", `${at}.parts[${index}].text`);
    }
  }
}

/** The options of a request, which may stand beside its content or, with a newer spelling, in a config of their own. */
function optionsOf(request: JsonObject, param: string) {
  const { known } = sortMembers(request, requestNames, param);
  const { embedContentConfig, ...beside } = known;
  const at = below(param, "embedContentConfig");
  const { known: config, rest } = sortMembers(readObject(embedContentConfig, at) ?? {}, optionNames, at);
  return { options: { ...beside, ...config }, rest, at };
}

function readDimensions({ request, param }: PlacedRequest): number | undefined {
  const { options } = optionsOf(request, param);
  return readWhole(options["outputDimensionality"], below(param, "outputDimensionality"), 1, dimensionsMax);
}

/**
 * Reads a whole request. A content of several parts, or of other parts than text, is one vector of a kind that only Gemini makes.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readRequest(body: JsonObject): EmbeddingRequest {
  if (isBatch(body)) knownMembers(body, memberNames("requests model"), "");
  return { inputs: requestsOf(body).map(readInput), extensions: {} };
}

function readInput(placed: PlacedRequest): EmbeddingInput {
  const { request, param } = placed;
  knownMembers(request, requestNames, param);
  const { options, rest, at } = optionsOf(request, param);
  knownMembers(rest, memberNames(""), at);
  const dimensions = readDimensions(placed);
  const task = readText(options["taskType"], below(param, "taskType"), wordLengthMax);
  const title = readText(options["title"], below(param, "title"), wordLengthMax);
  return {
    content: readContent(options["content"], below(param, "content")),
    ...(dimensions === undefined ? {} : { dimensions }),
    ...(task === undefined ? {} : { task }),
    ...(title === undefined ? {} : { title }),
  };
}

function readContent(value: unknown, param: string): string {
  const { parts } = knownMembers(requiredObject(value, param), contentNames, param);
  const [part, second] = required(readList(parts, `${param}.parts`), `${param}.parts`);
  if (second !== undefined) throw untranslatable("Other providers take one text for each vector.", `${param}.parts`);
  const at = `${param}.parts[0]`;
  const { text } = knownMembers(requiredObject(part, at), partNames, at);
  return required(readText(text, `${at}.text`), `${at}.text`);
}

/** Writes the body of `batchEmbedContents`. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: EmbeddingRequest, model: string): RequestWriting {
  const texts = textsOf(request.inputs);
  const requests = request.inputs.map(({ dimensions, task, title }, index) => ({
    model: modelName(model),
    content: { parts: [{ text: texts[index] }] },
    ...(task === undefined ? {} : { taskType: task }),
    ...(title === undefined ? {} : { title }),
    ...(dimensions === undefined ? {} : { outputDimensionality: dimensions }),
  }));
  return { body: { requests }, warnings: omissionsOf(request, geminiName, ["task", "title"]) };
}

/**
 * A client's own requests for a target of this dialect: as they came, but with the target's model wherever one is named,
 * since each request of a batch names its own.
 * @param body as `parseExact` gives it
 */
export function withModel(body: JsonObject, model: string): JsonObject {
  const named = body["model"] === undefined ? body : { ...body, model: modelName(model) };
  if (!isBatch(body)) return named;
  return { ...named, requests: requestsOf(body).map(({ request }) => ({ ...request, model: modelName(model) })) };
}

/** A model name may bring its collection (`tunedModels/x`). */
function modelName(model: string): string {
  return model.includes("/") ? model : `models/${model}`;
}

/** What a path of the canonical request is called in a body of this dialect. */
export function paramIn(path: string, body: JsonObject): string {
  const [, index] = /^inputs\[(\d+)\]$/.exec(path) ?? [];
  if (path.startsWith("inputs")) {
    if (!isBatch(body)) return "content";
    return index === undefined ? "requests" : `requests[${index}].content`;
  }
  const name = optionParams[path];
  return name === undefined ? path : below(isBatch(body) ? "requests[0]" : "", name);
}

const optionParams: Readonly<Record<string, string>> = {
  dimensions: "outputDimensionality",
  task: "taskType",
  title: "title",
};

function below(param: string, name: string): string {
  return param === "" ? name : `${param}.${name}`;
}
