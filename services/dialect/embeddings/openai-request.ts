import type { Envelope, RequestWriting } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readText, readWhole, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { readModel, readUser } from "../openai-completions/envelope.ts";
import {
  dimensionsMax,
  type EmbeddingInput,
  type EmbeddingRequest,
  type Encoding,
  type Expectation,
  inputsMax,
} from "./embedding.ts";
import { expectationOf } from "./expectation.ts";
import { common, omissionsOf } from "./omissions.ts";

/** The key of this dialect in the extensions of requests, and its name in warnings. */
export const openaiName = "openai-embeddings";

/**
 * Reads what limits and routing need: no output is made, so that none is reserved.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  const model = readModel(body);
  readExpectation(body);
  const user = readUser(body);
  return {
    model,
    stream: false,
    includeUsage: false,
    maxOutputTokens: 0,
    choiceCount: 1,
    ...(user === "" ? {} : { user }),
  };
}

/** @throws WeirError INVALID_REQUEST with `param` */
export function readExpectation(body: JsonObject): Expectation {
  return expectationOf({ ...readShape(body), extensions: {} });
}

/** @throws WeirError INVALID_REQUEST with `param` */
export function readRequest(body: JsonObject): EmbeddingRequest {
  const { inputs, encoding } = readShape(body);
  const user = readUser(body);
  const task = readText(body["task_type"], "task_type", taskLengthMax);
  const further = Object.entries(body).filter(([name, value]) => !ownMembers.has(name) && value !== null);
  return {
    inputs: task === undefined ? inputs : inputs.map((input) => ({ ...input, task })),
    encoding,
    ...(user === "" ? {} : { user }),
    extensions: further.length === 0 ? {} : { [openaiName]: Object.fromEntries(further) },
  };
}

const taskLengthMax = 64;

/** Members that a canonical request holds; the task is no member of OpenAI's, but that of clients who call Google's models so. */
const ownMembers: ReadonlySet<string> = new Set([
  "model",
  "input",
  "dimensions",
  "encoding_format",
  "user",
  "task_type",
]);

/** Writes a request. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: EmbeddingRequest, model: string): RequestWriting {
  const { inputs, encoding, user, extensions } = request;
  const dimensions = common(inputs, "dimensions");
  const body = {
    model,
    input: inputs.map(({ content }) => content),
    ...(dimensions === undefined ? {} : { dimensions }),
    ...(encoding === undefined ? {} : { encoding_format: encoding }),
    ...(user === undefined ? {} : { user }),
  };
  return { body: { ...extensions[openaiName], ...body }, warnings: omissionsOf(request, openaiName, ["user"]) };
}

/** What a path of the canonical request is called in this dialect. */
export function paramIn(path: string): string {
  if (path.startsWith("inputs")) return `input${path.slice("inputs".length)}`;
  if (path.startsWith(`extensions.${openaiName}.`)) return path.slice(`extensions.${openaiName}.`.length);
  if (path === "task") return "task_type";
  return path === "encoding" ? "encoding_format" : path;
}

function readShape(body: JsonObject): { inputs: readonly EmbeddingInput[]; encoding: Encoding } {
  const dimensions = readWhole(body["dimensions"], "dimensions", 1, dimensionsMax);
  const contents = readContents(body["input"]);
  return {
    inputs: contents.map((content) => (dimensions === undefined ? { content } : { content, dimensions })),
    encoding: readEncoding(body["encoding_format"]),
  };
}

function readEncoding(value: unknown): Encoding {
  if (value == null) return "float";
  if (value === "float" || value === "base64") return value;
  throw invalid("`encoding_format` must be `float` or `base64`.", "encoding_format");
}

/** An input is a text or a list of tokens; there may be a list of either. */
function readContents(value: unknown): readonly (string | readonly number[])[] {
  const input = required(value ?? undefined, "input");
  if (typeof input === "string") return [readContent(input, "input")];
  if (!Array.isArray(input)) throw noInput("input");
  const list = input as readonly unknown[];
  if (list.length === 0) throw invalid("`input` must not be empty.", "input");
  if (typeof list[0] === "number") return [readContent(list, "input")];
  if (list.length > inputsMax) throw invalid(`\`input\` may hold at most ${inputsMax} inputs.`, "input");
  const contents = list.map((item, index) => readContent(item, `input[${index}]`));
  if (contents.some((content) => typeof content !== typeof contents[0])) throw noInput("input");
  return contents;
}

function readContent(value: unknown, param: string): string | readonly number[] {
  if (value === "" || (Array.isArray(value) && value.length === 0)) {
    throw invalid(`\`${param}\` must not be empty.`, param);
  }
  if (typeof value === "string" || isTokens(value)) return value;
  throw noInput(param);
}

function isTokens(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((token) => Number.isInteger(token) && token >= 0 && token <= tokenMax);
}

const tokenMax = 0x7fff_ffff;

function noInput(param: string) {
  return invalid("`input` must be a text, a list of texts, a list of tokens or a list of such lists.", param);
}
