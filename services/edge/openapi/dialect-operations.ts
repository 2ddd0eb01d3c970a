import { operations } from "../routes/passthrough/operations.ts";
import { secretPaths } from "../routes/passthrough/realtime.ts";
import type { FailureForm, MediaFacts, OperationFacts, ParameterFacts } from "./operation.ts";
import type { Schema } from "./schema.ts";

/** What is said of a route that no proto describes. */
export type DialectFacts = Omit<OperationFacts, "operationId" | "parameters" | "isOpen"> & {
  readonly query?: readonly ParameterFacts[];
};

const model = { type: "string", description: "The alias that is called.", examples: ["weir-demo"] };
const stream = { type: "boolean", default: false, description: "Whether the answer comes as server-sent events." };
const anyObject: Schema = { type: "object" };

function object(properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return { type: "object", properties, ...(required.length > 0 && { required }), additionalProperties: true };
}

function list(items: Schema): Schema {
  return { type: "array", items };
}

const text = { type: "string" };
const messages = list(object({ role: text, content: { description: "A text, or a list of parts." } }, ["role"]));
const json = (schema: Schema, example?: unknown): Readonly<Record<string, MediaFacts>> => ({
  "application/json": { schema, ...(example !== undefined && { example }) },
});

/** An answer that may also come as events, each with an object of its own in `data`. */
function streamable(schema: Schema): Readonly<Record<string, MediaFacts>> {
  return { ...json(schema), "text/event-stream": { schema: text } };
}

function parameter(name: string, schema: Schema, description?: string): ParameterFacts {
  return { name, in: "query", schema, description };
}

function call(
  tag: string,
  summary: string,
  docsUrl: string | undefined,
  request: Readonly<Record<string, MediaFacts>>,
  response: Readonly<Record<string, MediaFacts>>,
  failures: FailureForm = "openai",
  description?: string,
): DialectFacts {
  return {
    tag,
    summary,
    description,
    docsUrl,
    request: { required: true, content: request },
    responseText: "The answer.",
    response,
    failures,
  };
}

function read(
  tag: string,
  summary: string,
  docsUrl: string | undefined,
  response: Readonly<Record<string, MediaFacts>>,
  description?: string,
): DialectFacts {
  return { tag, summary, description, docsUrl, responseText: "The answer.", response, failures: "openai" };
}

const openaiDocs = "https://developers.openai.com/api/reference";
const hello = [{ role: "user", content: "Hello" }];
const chatRequest = json(
  object(
    {
      model,
      messages,
      stream,
      max_completion_tokens: { type: "integer", minimum: 1 },
      temperature: { type: "number" },
      tools: list(anyObject),
    },
    ["model", "messages"],
  ),
  { model: "weir-demo", messages: hello },
);
const chatAnswer = streamable(
  object({
    id: text,
    object: { const: "chat.completion" },
    model: text,
    choices: list(object({ index: { type: "integer" }, message: anyObject, finish_reason: text })),
    usage: anyObject,
  }),
);
const embeddingRequest = json(
  object({ model, input: { description: "A text, texts, or tokens." } }, ["model", "input"]),
  { model: "weir-demo", input: "Hello" },
);
const embeddingAnswer = json(
  object({ object: { const: "list" }, data: list(anyObject), model: text, usage: anyObject }),
);
const modelObject = object({ id: text, object: { const: "model" }, created: { type: "integer" }, owned_by: text });
const stored = object({ id: text, object: { const: "response" }, status: text, output: list(anyObject) });
const include = parameter("include", list(text), "Harmless: what a response holds is there unasked.");
const contents = list(object({ role: text, parts: list(anyObject) }));
const geminiRequest = json(
  object({ contents, generationConfig: anyObject, systemInstruction: anyObject, tools: list(anyObject) }, ["contents"]),
  { contents: [{ role: "user", parts: [{ text: "Hello" }] }] },
);
const geminiAnswer = object({ candidates: list(anyObject), usageMetadata: anyObject, modelVersion: text });
const geminiModels = "https://ai.google.dev/api/models";
const geminiModel = object({ name: text, displayName: text, supportedGenerationMethods: list(text) });
const health = json(object({ status: text, version: text }));
const pageText: DialectFacts["response"] = { "text/html": { schema: text } };

const completionRequest = json(
  object({ model, prompt: { description: "A text or texts." }, stream }, ["model", "prompt"]),
  { model: "weir-demo", prompt: "Hello" },
);

/** By method and path below the version, or by method and whole path. */
const table: Readonly<Record<string, DialectFacts>> = {
  "POST /chat/completions": call(
    "OpenAI",
    "Create a chat completion",
    `${openaiDocs}/resources/chat`,
    chatRequest,
    chatAnswer,
  ),
  "POST /openai/deployments/{deployment}/chat/completions": call(
    "OpenAI",
    "Create a chat completion, as on Azure",
    "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    chatRequest,
    chatAnswer,
    "openai",
    "The deployment is the alias that is called.",
  ),
  "POST /completions": call(
    "OpenAI",
    "Create a completion",
    `${openaiDocs}/resources/completions`,
    completionRequest,
    streamable(anyObject),
  ),
  "POST /openai/deployments/{deployment}/completions": call(
    "OpenAI",
    "Create a completion, as on Azure",
    "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    completionRequest,
    streamable(anyObject),
    "openai",
    "The deployment is the alias that is called.",
  ),
  "POST /embeddings": call(
    "OpenAI",
    "Create embeddings",
    `${openaiDocs}/resources/embeddings`,
    embeddingRequest,
    embeddingAnswer,
  ),
  "POST /openai/deployments/{deployment}/embeddings": call(
    "OpenAI",
    "Create embeddings, as on Azure",
    "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    embeddingRequest,
    embeddingAnswer,
    "openai",
    "The deployment is the alias that is called.",
  ),
  "POST /responses": call(
    "OpenAI",
    "Create a response",
    `${openaiDocs}/resources/responses`,
    json(
      object(
        {
          model,
          input: { description: "A text, or a list of items." },
          stream,
          store: { type: "boolean" },
          background: { type: "boolean" },
          previous_response_id: text,
        },
        ["model"],
      ),
      { model: "weir-demo", input: "Hello" },
    ),
    streamable(stored),
  ),
  "POST /responses/input_tokens": call(
    "OpenAI",
    "Count the tokens of a response's input",
    `${openaiDocs}/resources/responses`,
    json(object({ model, input: { description: "A text, or a list of items." } }, ["model"]), {
      model: "weir-demo",
      input: "Hello",
    }),
    json(object({ object: { const: "response.input_tokens" }, input_tokens: { type: "integer" } })),
  ),
  "GET /responses/{id}": {
    ...read("OpenAI", "Get a stored response", `${openaiDocs}/resources/responses`, json(stored)),
    query: [include],
  },
  "DELETE /responses/{id}": read(
    "OpenAI",
    "Delete a stored response",
    `${openaiDocs}/resources/responses`,
    json(anyObject),
  ),
  "GET /responses/{id}/input_items": {
    ...read(
      "OpenAI",
      "List the input of a stored response",
      `${openaiDocs}/resources/responses`,
      json(object({ object: { const: "list" }, data: list(anyObject), has_more: { type: "boolean" } })),
    ),
    query: [
      parameter("order", { type: "string", enum: ["asc", "desc"], default: "desc" }),
      parameter("limit", { type: "integer", minimum: 1, maximum: 100, default: 20 }),
      parameter("after", text, "The id of the item before the first."),
      include,
    ],
  },
  "POST /responses/{id}/cancel": read(
    "OpenAI",
    "Cancel a response in the background",
    `${openaiDocs}/resources/responses`,
    json(stored),
  ),
  "GET /models": read(
    "OpenAI",
    "List models",
    `${openaiDocs}/resources/models`,
    json(object({ object: { const: "list" }, data: list(modelObject) })),
    "What the key may call, by alias. Clients of Gemini, which send `x-goog-api-key`, get Gemini's list.",
  ),
  "GET /models/{id=**}": read("OpenAI", "Get a model", `${openaiDocs}/resources/models`, json(modelObject)),
  ...Object.fromEntries(
    ["/v1beta", "/v1alpha"].flatMap((version): [string, DialectFacts][] => [
      [
        `GET ${version}/models`,
        {
          ...read(
            "Gemini",
            "List models",
            geminiModels,
            json(object({ models: list(geminiModel), nextPageToken: text })),
          ),
          description: "What the key may call, by alias.",
          query: [
            parameter("pageSize", { type: "integer", minimum: 0, default: 50 }, "At most 1000."),
            parameter("pageToken", text, "The `nextPageToken` of the page before."),
          ],
          failures: "gemini",
        },
      ],
      [
        `GET ${version}/models/{id=**}`,
        { ...read("Gemini", "Get a model", geminiModels, json(geminiModel)), failures: "gemini" },
      ],
    ]),
  ),
  "POST /messages": call(
    "Anthropic",
    "Create a message",
    "https://platform.claude.com/docs/en/api/messages",
    json(
      object(
        { model, messages, max_tokens: { type: "integer", minimum: 1 }, system: {}, stream, tools: list(anyObject) },
        ["model", "messages", "max_tokens"],
      ),
      { model: "weir-demo", max_tokens: 100, messages: hello },
    ),
    streamable(
      object({
        id: text,
        type: { const: "message" },
        role: text,
        content: list(anyObject),
        stop_reason: text,
        usage: anyObject,
      }),
    ),
    "anthropic",
  ),
  "POST /messages/count_tokens": call(
    "Anthropic",
    "Count the tokens of a message",
    "https://platform.claude.com/docs/en/api/messages-count-tokens",
    json(object({ model, messages }, ["model", "messages"]), { model: "weir-demo", messages: hello }),
    json(object({ input_tokens: { type: "integer" } })),
    "anthropic",
  ),
  "POST /generate": call(
    "Weir",
    "Answer one prompt",
    undefined,
    json(object({ model, prompt: text, max_length: { type: "integer", minimum: 1 }, stream }, ["model", "prompt"]), {
      model: "weir-demo",
      prompt: "Hello",
    }),
    streamable(anyObject),
  ),
  "POST /chat": call(
    "Weir",
    "Answer a conversation in Weir's own form",
    undefined,
    json(object({ model, messages: list(anyObject) }, ["model", "messages"]), {
      model: "weir-demo",
      messages: [{ role: "ROLE_USER", parts: [{ text: { text: "Hello" } }] }],
    }),
    streamable(anyObject),
    "weir",
  ),
  "GET /chat/ws": {
    ...read(
      "Weir",
      "Converse over WebSocket",
      undefined,
      {},
      "The connection becomes a WebSocket; each frame is a JSON object.",
    ),
    status: "101",
    responseText: "The connection is a WebSocket now.",
  },
  "GET /realtime": {
    ...read(
      "OpenAI",
      "Open a Realtime session",
      `${openaiDocs}/resources/realtime`,
      {},
      "The connection becomes a WebSocket, which is passed on to the provider.",
    ),
    status: "101",
    responseText: "The connection is a WebSocket now.",
  },
  ...Object.fromEntries(
    secretPaths.map((path): [string, DialectFacts] => [
      `POST ${path}`,
      {
        ...call("OpenAI", `Not served: ${path}`, `${openaiDocs}/resources/realtime`, json(anyObject), json(anyObject)),
        description: "Refused: clients connect to `/v1/realtime` with a key of the gateway.",
      },
    ]),
  ),
  "POST /models/{id=**}:generateContent": call(
    "Gemini",
    "Generate content",
    "https://ai.google.dev/api/generate-content",
    geminiRequest,
    json(geminiAnswer),
    "gemini",
  ),
  "POST /models/{id=**}:streamGenerateContent": {
    ...call(
      "Gemini",
      "Generate content as a stream",
      "https://ai.google.dev/api/generate-content",
      geminiRequest,
      { "application/json": { schema: list(geminiAnswer) }, "text/event-stream": { schema: geminiAnswer } },
      "gemini",
    ),
    query: [parameter("alt", { type: "string", enum: ["sse", "json"], default: "json" }, "The form of the stream.")],
  },
  "POST /models/{id=**}:countTokens": call(
    "Gemini",
    "Count tokens",
    "https://ai.google.dev/api/tokens",
    geminiRequest,
    json(object({ totalTokens: { type: "integer" } })),
    "gemini",
  ),
  "POST /models/{id=**}:embedContent": call(
    "Gemini",
    "Embed one content",
    "https://ai.google.dev/api/embeddings",
    json(object({ content: object({ parts: list(anyObject) }) }, ["content"]), {
      content: { parts: [{ text: "Hello" }] },
    }),
    json(anyObject),
    "gemini",
  ),
  "POST /models/{id=**}:batchEmbedContents": call(
    "Gemini",
    "Embed several contents",
    "https://ai.google.dev/api/embeddings",
    json(object({ requests: list(anyObject) }, ["requests"])),
    json(anyObject),
    "gemini",
  ),
  "POST /v2/rerank": call(
    "Cohere",
    "Rank documents",
    "https://docs.cohere.com/reference/rerank",
    json(object({ model, query: text, documents: list({}) }, ["model", "query", "documents"]), {
      model: "weir-demo",
      query: "weir",
      documents: ["a low dam"],
    }),
    json(anyObject),
  ),
  "GET /metrics": {
    ...read(
      "Operators",
      "Read metrics",
      undefined,
      { "text/plain": { schema: text } },
      "In Prometheus' text format. From other machines only with a key.",
    ),
    responseText: "The metrics.",
  },
  "GET /health": read("Operators", "Read the health of the gateway", undefined, health),
  "GET /health/live": read("Operators", "Ask whether the process answers", undefined, health),
  "GET /health/ready": read("Operators", "Ask whether the gateway serves", undefined, health),
  "GET /openapi.json": read("Documentation", "Get this document", undefined, json(anyObject)),
  "GET /docs": { ...read("Documentation", "Try the API out", undefined, pageText), responseText: "A page." },
  "GET /docs/{file}": {
    ...read("Documentation", "Get a file of that page", undefined, { "*/*": { schema: text } }),
    responseText: "The file.",
  },
  "GET /redoc": { ...read("Documentation", "Read about the API", undefined, pageText), responseText: "A page." },
};

const bodyTypes = {
  none: [],
  json: ["application/json"],
  multipart: ["multipart/form-data"],
  "json or multipart": ["application/json", "multipart/form-data"],
} as const;

const passed: ReadonlyMap<string, DialectFacts> = new Map(
  operations.map(({ method, path, endpoint, body, model: names, query }) => {
    const schema = names === "none" ? anyObject : object({ model }, names === "required" ? ["model"] : []);
    const types: readonly string[] = bodyTypes[body];
    const facts: DialectFacts = {
      tag: "Passed through",
      summary: `${method === "GET" ? "Read" : method === "DELETE" ? "Delete" : "Call"} ${path.slice(1).replaceAll(/[/_]/g, " ").replaceAll(/[{}]/g, "")}`,
      description: `Passed on to the provider that serves it, in its own form; keys need the endpoint \`${endpoint}\`.`,
      docsUrl: path === "/rerank" ? "https://docs.cohere.com/reference/rerank" : openaiDocs,
      request:
        types.length === 0
          ? undefined
          : { required: true, content: Object.fromEntries(types.map((type) => [type, { schema }])) },
      query: query.map((name) => parameter(name, text)),
      responseText: "The provider's answer.",
      response: { "*/*": { schema: {} } },
      failures: "openai",
    };
    return [`${method} ${path}`, facts];
  }),
);

/** What is known of a route: by its path, and by that below the version. Undefined: nothing. */
export function dialectFacts(method: string, path: string): DialectFacts | undefined {
  const below = path.replace(/^\/v1(?:beta|alpha)?(?=\/)/, "");
  const key = `${method} ${below}`;
  return table[`${method} ${path}`] ?? table[key] ?? passed.get(key);
}
