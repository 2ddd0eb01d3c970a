import { isStoredAtGemini } from "@weir/dialect/gemini/stored-file";
import { isObject, type JsonObject } from "@weir/dialect/json";
import { parseJson } from "@weir/dialect/parse-json";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** Members that name what a provider keeps, in OpenAI's and Anthropic's dialects and in the canonical form. */
const referring: ReadonlySet<string> = new Set([
  "file_id",
  "file_ids",
  "fileId",
  "vector_store_id",
  "vector_store_ids",
  "fileUri",
  "file_uri",
]);
/** Those of Gemini's dialect, under which addresses may stand as well. */
const located: ReadonlySet<string> = new Set(["fileUri", "file_uri"]);
/** What they end in: letters that are rare, so that bytes are searched for them in no time. */
const endings = ["_id", "Id"];
const marks = ["file_id", "fileId", "vector_store_id"];
const locatedMarks = ["fileUri", "file_uri"];
/** An escape of a character that those names consist of: who writes ASCII so hides something, or is very unusual. */
const hidden = /\\u00[4-7]/;

/**
 * Whether the bytes of a request may name a file. Costs a search, and says no to nearly every chat.
 * @param body JSON
 */
export function mayNameFiles(body: Uint8Array): boolean {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (endings.some((ending) => bytes.includes(ending)) && marks.some((mark) => bytes.includes(mark))) return true;
  if (locatedMarks.some((mark) => bytes.includes(mark))) return true;
  return hidesLetters(bytes);
}

const escapeMiddle = "00";
const looksMax = 256;

/** Whether `hidden` is there; looked for by its zeros, since backslashes are many in texts. */
function hidesLetters(bytes: Buffer): boolean {
  let looks = 0;
  for (let at = bytes.indexOf(escapeMiddle); at >= 0; at = bytes.indexOf(escapeMiddle, at + 1)) {
    if (bytes[at - 1] === 0x75 && bytes[at - 2] === 0x5c && hidden.test(bytes.toString("latin1", at - 2, at + 3)))
      return true;
    looks += 1;
    if (looks > looksMax) return hidden.test(bytes.toString("latin1", at));
  }
  return false;
}

/**
 * The ids of files and vector stores that a request for a model's reply names, each once.
 * @throws WeirError INVALID_REQUEST where a member stands twice, one of which its provider might take and this process not
 */
export function namedFiles({ wire, ...request }: GenerateRequest): string[] {
  if (wire !== undefined) {
    const text = Buffer.from(wire.body.buffer, wire.body.byteOffset, wire.body.byteLength).toString();
    return filesIn(text, parse(text));
  }
  const found = new Set<string>();
  look(request, false, found);
  return [...found];
}

/**
 * As `namedFiles`, of one request in a public dialect.
 * @param json what the text says
 */
export function filesIn(text: string, json: unknown): string[] {
  if (namesIn(text, referring) !== namesOf(json, referring)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "A request that names files has a member that stands more than once.",
    });
  }
  const found = new Set<string>();
  look(json, false, found);
  return [...found];
}

/** Not looked at: texts of the client's own, and what tools take and give, whose members have names of the client's own making. */
const opaque: ReadonlySet<string> = new Set([
  "metadata",
  "parameters",
  "input_schema",
  "inputSchema",
  "schema",
  "arguments",
  "functionCall",
  "function_call",
]);
/** Gemini's results of functions: `response` is the client's own, and files may stand in `parts`. */
const results: ReadonlySet<string> = new Set(["functionResponse", "function_response"]);

function look(value: unknown, isReference: boolean, found: Set<string>): void {
  if (typeof value === "string") {
    if (isReference && value !== "") found.add(value);
  } else if (Array.isArray(value)) {
    for (const item of value) look(item, isReference, found);
  } else if (isObject(value) && !(value instanceof Uint8Array)) {
    // Of the canonical form: a union of what a part may come from.
    if (value["case"] === "fileId") look(value["value"], true, found);
    for (const [name, member] of Object.entries(value)) {
      if (opaque.has(name) || isToolInput(name, value)) continue;
      const isAddress = located.has(name) && typeof member === "string" && !isStoredAtGemini(member);
      const told = results.has(name) && isObject(member) ? { ...member, response: undefined } : member;
      look(told, referring.has(name) && !isAddress, found);
    }
  }
}

/**
 * https://platform.claude.com/docs/en/api/messages: the input of a tool is an object of its own making. A list is that of a request of
 * Responses, whatever else stands beside it.
 */
function isToolInput(name: string, { type, input }: JsonObject): boolean {
  return name === "input" && isObject(input) && typeof type === "string" && type.endsWith("tool_use");
}

/** What follows a string that is a member's name. */
const colon = /\s*:/y;

/** How many members of some names a text of JSON has, however they are escaped. */
function namesIn(text: string, names: ReadonlySet<string>): number {
  let count = 0;
  for (let start = text.indexOf('"'); start >= 0; ) {
    const end = closingQuote(text, start + 1);
    if (end < 0) break;
    colon.lastIndex = end + 1;
    if (colon.test(text)) {
      const name = text.slice(start + 1, end);
      if (names.has(name.includes("\\") ? (parseJson(`"${name}"`) as string) : name)) count += 1;
    }
    start = text.indexOf('"', end + 1);
  }
  return count;
}

/** Where a string ends whose characters begin at `from`; below 0: nowhere. No expression is matched, since strings have millions of characters. */
function closingQuote(text: string, from: number): number {
  for (let end = text.indexOf('"', from); end >= 0; end = text.indexOf('"', end + 1)) {
    let first = end;
    while (first > from && text[first - 1] === "\\") first -= 1;
    if ((end - first) % 2 === 0) return end;
  }
  return -1;
}

/** How many of them are left when it has been read. */
function namesOf(value: unknown, names: ReadonlySet<string>): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + namesOf(item, names), 0);
  if (!isObject(value) || value instanceof Uint8Array) return 0;
  return Object.entries(value).reduce(
    (sum, [name, member]) => sum + (names.has(name) ? 1 : 0) + namesOf(member, names),
    0,
  );
}

/**
 * Members that name stores of documents of which nothing is on record here: Gemini's file search, Vertex AI's search and RAG engine,
 * and Azure's "on your data". https://ai.google.dev/api/caching#FileSearch,
 * https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Tool#Retrieval,
 * https://learn.microsoft.com/azure/ai-foundry/openai/references/on-your-data
 */
const unrecorded: ReadonlySet<string> = new Set([
  "fileSearchStoreNames",
  "file_search_store_names",
  "vertexAiSearch",
  "vertex_ai_search",
  "vertexRagStore",
  "vertex_rag_store",
  "data_sources",
]);

/** Whether a request for a model's reply names stores of documents of which nothing is on record. Reads all of it. */
export function namesUnrecorded({ wire, ...request }: GenerateRequest): boolean {
  if (wire === undefined) return namesOf(request, unrecorded) > 0;
  return namesIn(Buffer.from(wire.body.buffer, wire.body.byteOffset, wire.body.byteLength).toString(), unrecorded) > 0;
}

function parse(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The body is not JSON." });
  }
}
