import { isStoredAtGemini } from "@weir/dialect/gemini/stored-file";
import { isObject, type JsonObject } from "@weir/dialect/json";
import { MemberScan, type TellTale } from "./member-scan.ts";

// The members by which requests name what providers keep. Sources: the types of the vendors' own libraries (openai 7.55,
// @anthropic-ai/sdk 1.11, @google/genai 3.1), and what is linked below.

/** What a request names of what providers keep. Each list has each text once. */
export interface Names {
  /** Ids of kinds that are put on record when they are made: files, vector stores, models that were tuned. */
  readonly ids: readonly string[];
  /** Stores of documents: ids among those, names of others, and members that stand for stores without a name of their own. */
  readonly stores: readonly string[];
  /** Members under which stands what is never on record: `container`. */
  readonly members: readonly string[];
}

export const noNames: Names = { ids: [], stores: [], members: [] };

/** Members that hold ids of stores, which may be on record. */
const storeIds = ["vector_store_id", "vector_store_ids"];
/** Members that hold ids which may be on record, in OpenAI's and Anthropic's dialects and in the canonical form. */
const recorded: ReadonlySet<string> = new Set(["file_id", "file_ids", "fileId", ...storeIds]);
const recordedStores: ReadonlySet<string> = new Set(storeIds);
/** Those of Gemini's dialect that hold addresses as well. Files of its Files API are on nobody's record. */
const located: ReadonlySet<string> = new Set(["fileUri", "file_uri"]);

/** Members that name what is never on record by a text. */
const unrecorded: ReadonlySet<string> = new Set([
  // OpenAI: a container of code interpreter and shell, a tunnel to an MCP server, responses.
  "container_id",
  "tunnel_id",
  "previous_response_id",
  "comparison_response_id",
  // OpenAI and Anthropic.
  "skill_id",
  // Anthropic: a message of a thread.
  "previous_message_id",
  // https://ai.google.dev/api/caching
  "cachedContent",
  "cached_content",
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailConfiguration.html
  "guardrailIdentifier",
]);

/**
 * Stores of documents that are never on record: Gemini's file search, Vertex AI's search and RAG engine, Azure's "on your data".
 * https://ai.google.dev/api/caching#FileSearch, https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Tool#Retrieval,
 * https://learn.microsoft.com/azure/ai-foundry/openai/references/on-your-data
 */
const unrecordedStores: ReadonlySet<string> = new Set([
  "fileSearchStoreNames",
  "file_search_store_names",
  "vertexAiSearch",
  "vertex_ai_search",
  "vertexRagStore",
  "vertex_rag_store",
  "data_sources",
]);
/** Below these members of such stores stand their names. */
const storeNames: ReadonlySet<string> = new Set([
  "datastore",
  "engine",
  "dataStore",
  "data_store",
  "ragCorpora",
  "rag_corpora",
  "ragCorpus",
  "rag_corpus",
]);

/** Members of Vertex AI that lead to an interface, a secret, an account or a template of its project. */
const settings: ReadonlySet<string> = new Set([
  "externalApi",
  "external_api",
  "authConfig",
  "auth_config",
  "modelArmorConfig",
  "model_armor_config",
]);

/** Objects whose `id` names what is never on record: a stored prompt, a conversation, what a model said, a voice, a container. */
const identified: ReadonlySet<string> = new Set(["prompt", "conversation", "audio", "voice", "container"]);
/** Of those, members that may hold the id itself. */
const identifying: ReadonlySet<string> = new Set(["conversation", "container"]);
/** Items of a response's input that stand for one which the provider keeps; the first always, the second without its picture. */
const reference = "item_reference";
const picture = "image_generation_call";

function tellTales(): ReadonlyMap<string, TellTale> {
  const tales = new Map<string, TellTale>();
  for (const name of identified) tales.set(name, identifying.has(name) ? "member" : "member of an object");
  for (const names of [recorded, located, unrecorded, unrecordedStores, settings]) {
    for (const name of names) tales.set(name, "member");
  }
  for (const type of [reference, picture]) tales.set(type, "value");
  return tales;
}

const tales = tellTales();
const scan = new MemberScan(tales);

/**
 * Whether the bytes of a request may name what a provider keeps. Costs one look at them, and says no to nearly every chat.
 * @param body JSON
 */
export function mayName(body: Uint8Array): boolean {
  return scan.tells(body);
}

/** Whether a field of a form leads to a member that names what a provider keeps: `mask[file_id]`, `voice[id]`. */
export function isNamingField(field: string): boolean {
  const path = field.split(/[[\].]+/).filter((name) => name !== "");
  return path.some((name, at) => {
    const tale = tales.get(name);
    return tale === "member" || (tale === "member of an object" && at < path.length - 1);
  });
}

/**
 * Not looked at: labels and documents of the client's own, and what tools and replies are shaped like, take and give, whose members have names of the
 * client's own making.
 */
const opaque: ReadonlySet<string> = new Set([
  "metadata",
  "labels",
  "requestMetadata",
  "attributes",
  "documents",
  "parameters",
  "functionDeclarations",
  "function_declarations",
  "input_schema",
  "inputSchema",
  // https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use
  "input_examples",
  "output_schema",
  "schema",
  "responseSchema",
  "response_schema",
  "responseJsonSchema",
  "response_json_schema",
  // https://github.com/ollama/ollama/blob/main/docs/api.md#structured-outputs; elsewhere a word, or an object with a `schema`
  "format",
  "arguments",
  "args",
  "functionCall",
  "function_call",
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultContentBlock.html
  "json",
]);
/** Gemini's results of functions: `response` is the client's own, and files may stand in `parts`. */
const results: ReadonlySet<string> = new Set(["functionResponse", "function_response"]);

/**
 * What a request names, at any depth.
 * @param value JSON, or a message
 * @param inSession whether it is an event of Realtime, in which items that were said before are the session's
 */
export function namesIn(value: unknown, inSession = false): Names {
  const look = new Look(inSession);
  look.at(value);
  return { ids: [...look.ids], stores: [...look.stores], members: [...look.members] };
}

class Look {
  readonly ids = new Set<string>();
  readonly stores = new Set<string>();
  readonly members = new Set<string>();
  private readonly inSession: boolean;

  constructor(inSession: boolean) {
    this.inSession = inSession;
  }

  at(value: unknown, isInput = false): void {
    if (Array.isArray(value)) {
      for (const item of value) {
        if (isInput && !this.inSession) this.item(item);
        this.at(item);
      }
    } else if (isObject(value) && !(value instanceof Uint8Array)) {
      // Of the canonical form: a union of what a part may come from.
      if (value["case"] === "fileId") this.texts(value["value"], this.ids);
      for (const [name, member] of Object.entries(value)) {
        if (!opaque.has(name) && !isToolInput(name, value)) this.member(name, member, value);
      }
    }
  }

  private member(name: string, member: unknown, parent: JsonObject): void {
    if (recorded.has(name)) {
      this.texts(member, this.ids);
      if (recordedStores.has(name)) this.texts(member, this.stores);
    } else if (located.has(name)) {
      if (typeof member !== "string" || isStoredAtGemini(member)) this.texts(member, this.ids);
    } else if (unrecorded.has(name)) {
      // Skills of Anthropic's own: https://platform.claude.com/docs/en/agents-and-tools/agent-skills/overview
      if (hasText(member) && !(name === "skill_id" && parent["type"] === "anthropic")) this.members.add(name);
    } else if (unrecordedStores.has(name)) this.store(name, member);
    else if (settings.has(name)) {
      if (isSaid(member)) this.members.add(name);
    } else if (identified.has(name)) {
      const id = isObject(member) ? member["id"] : identifying.has(name) ? member : undefined;
      // Of a session `auto` and `none` are its own: https://platform.openai.com/docs/api-reference/realtime-client-events/response/create
      if (hasText(id) && !(this.inSession && name === "conversation")) this.members.add(name);
    }
    this.at(results.has(name) && isObject(member) ? { ...member, response: undefined } : member, name === "input");
  }

  private store(name: string, member: unknown): void {
    if (!isSaid(member)) return;
    this.members.add(name);
    const named = new Set<string>();
    if (name.startsWith("file")) this.texts(member, named);
    else this.below(member, named);
    if (named.size === 0) named.add(name);
    for (const store of named) this.stores.add(store);
  }

  /** Names of stores in what says where to search. */
  private below(value: unknown, found: Set<string>): void {
    if (Array.isArray(value)) for (const item of value) this.below(item, found);
    else if (isObject(value)) {
      for (const [name, member] of Object.entries(value)) {
        if (storeNames.has(name)) this.texts(member, found);
        else this.below(member, found);
      }
    }
  }

  /** An item of a response's input: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input */
  private item(item: unknown): void {
    if (!isObject(item) || !hasText(item["id"])) return;
    const type = item["type"] ?? ((item["role"] ?? null) === null ? reference : "message");
    if (type === reference || (type === picture && !hasText(item["result"]))) this.members.add(String(type));
  }

  private texts(value: unknown, into: Set<string>): void {
    if (typeof value === "string") {
      if (value !== "") into.add(value);
    } else if (Array.isArray(value)) for (const item of value) this.texts(item, into);
  }
}

/** Whether a text stands there that is not empty, or a list with one. */
function hasText(value: unknown): boolean {
  return Array.isArray(value) ? value.some(hasText) : typeof value === "string" && value !== "";
}

function isSaid(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value != null && value !== "";
}

/**
 * The input of a tool is an object of its own making: https://platform.claude.com/docs/en/api/messages,
 * https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html. A list is that of a request of Responses, whatever
 * else stands beside it.
 */
function isToolInput(name: string, { type, input, toolUseId }: JsonObject): boolean {
  if (name !== "input" || !isObject(input)) return false;
  return toolUseId !== undefined || (typeof type === "string" && type.endsWith("tool_use"));
}

/**
 * Names of models that are not the vendor's but were made in an account: tuned ones of OpenAI, Gemini's, endpoints of Vertex AI, and
 * whatever of Bedrock has an ARN.
 */
const madeModel = /(?:^|\/)(?:ft:|tunedModels\/|endpoints\/|projects\/|arn:)|:ft-/;
/** The same behind what a pattern of the configuration begins with. */
const madeModelWithin = /ft:|tunedModels\/|endpoints\/|projects\/|arn:|:ft-/;

/** Whether a model was made in somebody's account. @param model as its provider names it */
export function isMadeModel(model: string): boolean {
  return madeModel.test(model);
}

/** Whether an alias may lead to such a model, if it fits a pattern. */
export function mayBeMadeModel(alias: string): boolean {
  return madeModelWithin.test(alias);
}
