import type { Route } from "../routes/route.ts";
import type { PublicMethod } from "../rpc/public-methods.ts";
import { resolveHttpMethods } from "../transcode/rules.ts";
import { dialectFacts } from "./dialect-operations.ts";
import { type CommonHeader, type OperationFacts, operationObject } from "./operation.ts";
import { documentPath } from "./paths.ts";
import { connectOperation, restOperation } from "./rpc-operations.ts";
import { createSchemas, type Schema } from "./schema.ts";

/** A document of OpenAPI 3.1. https://spec.openapis.org/oas/v3.1.1.html */
export interface OpenApiDocument {
  readonly openapi: "3.1.0";
  readonly info: Schema;
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  /** By path, then by method in lower case. */
  readonly paths: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
  readonly components: Schema;
  readonly [name: string]: unknown;
}

export interface DocumentDeps {
  /** The edge's own table: what it serves is what is documented. */
  readonly routes: readonly Route[];
  readonly methods: readonly PublicMethod[];
  /** Of the protos, by full name. */
  readonly comments: Readonly<Record<string, string>>;
  readonly version: string;
}

const tagTexts: Readonly<Record<string, string>> = {
  OpenAI: "For clients of OpenAI.",
  Anthropic: "For clients of Anthropic.",
  Gemini: "For clients of Gemini.",
  Cohere: "For clients of Cohere.",
  Weir: "Weir's own forms.",
  "Passed through": "OpenAI's API beside chats, as the providers have it.",
  "Connect and gRPC-Web": "The services in the protocols of Connect and gRPC-Web. Plain gRPC is on a port of its own.",
  Operators: "For those who run the gateway.",
  Documentation: "This document, and pages made of it.",
};

/**
 * Describes all that the edge serves over HTTP. Pure. A path that does the same as the one with `/v1` is told of there.
 * @throws Error that names a route of which nothing is known, and a path that two routes would have
 */
export function buildDocument({ routes, methods, comments, version }: DocumentDeps): OpenApiDocument {
  const schemas = createSchemas(comments);
  const byRule = new Map(
    resolveHttpMethods(methods.map(({ desc }) => desc)).flatMap(({ bindings }, at) =>
      bindings.map(
        (binding, index) => [`${binding.httpMethod} ${binding.template.text}`, { at, binding, index }] as const,
      ),
    ),
  );
  const byPath = new Map(methods.map((method) => [`/${method.path}`, method]));
  const paths: Record<string, Record<string, Schema>> = {};
  const tags = new Set<string>();

  function factsOf(route: Route): OperationFacts {
    const rule = byRule.get(`${route.method} ${route.path}`);
    const ruled = rule === undefined ? undefined : methods[rule.at];
    if (rule !== undefined && ruled !== undefined)
      return restOperation(ruled, rule.binding, rule.index, schemas, comments);
    const served = byPath.get(route.path);
    if (served !== undefined) {
      const facts = connectOperation(served, schemas, comments);
      return route.method === "POST"
        ? facts
        : { ...facts, operationId: `${facts.operationId}_get`, request: undefined };
    }
    const known = dialectFacts(route.method, route.path);
    if (known === undefined) throw new Error(`nothing is known of ${route.method} ${route.path}`);
    const { query = [], ...facts } = known;
    const path = documentPath(route.path);
    return {
      ...facts,
      operationId: `${route.method.toLowerCase()}${path.path.replaceAll(/[^A-Za-z0-9]+/g, "_")}`.replace(/_$/, ""),
      parameters: [
        ...path.parameters.map(({ name }) => ({ name, in: "path" as const, schema: { type: "string", minLength: 1 } })),
        ...query,
      ],
      isOpen: route.access === "open",
    };
  }

  function headersOf({ method, path, access }: Route): CommonHeader[] {
    const headers: CommonHeader[] = byRule.has(`${method} ${path}`) ? ["ServerTimeout"] : [];
    return method === "POST" && access !== "open" ? ["IdempotencyKey", ...headers] : headers;
  }

  for (const route of routes) {
    const key = documentKey(route, routes);
    if (key.isTwin) continue;
    const facts = factsOf(route);
    tags.add(facts.tag);
    const methodsOfPath = (paths[key.path] ??= {});
    const method = route.method.toLowerCase();
    if (method in methodsOfPath) throw new Error(`two routes are ${route.method} ${key.path}`);
    methodsOfPath[method] = operationObject(facts, headersOf(route));
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Weir",
      version,
      summary: "An LLM gateway.",
      description:
        "One place through which applications reach language models, in the forms of several vendors. Paths that begin with `/v1` and are no service's are also there without it; those of OpenAI's form under `/openai/v1` and `/openai` as well, as clients for Azure want them, and their deployments under both.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{ bearer: [] }, { apiKey: [] }],
    tags: [...tags].map((name) => ({ name, description: tagTexts[name] ?? serviceText(name, methods, comments) })),
    paths,
    components: {
      schemas: { ...failureSchemas, ...Object.fromEntries(schemas.components) },
      responses: failureResponses,
      parameters: commonHeaders,
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "An API key (`weir_...`), or a JSON Web Token of an identity provider.",
        },
        apiKey: { type: "apiKey", in: "header", name: "x-api-key", description: "An API key." },
      },
    },
  };
}

/** Where a route stands in the document, or that another one stands for it. */
export function documentKey(
  route: Route,
  routes: readonly Route[],
): { readonly path: string; readonly isTwin: boolean } {
  const isTwin =
    route.label !== route.path && routes.some(({ path, method }) => path === route.label && method === route.method);
  return { path: documentPath(route.path).path, isTwin };
}

function serviceText(
  name: string,
  methods: readonly PublicMethod[],
  comments: Readonly<Record<string, string>>,
): string {
  const service = methods.find(({ desc }) => desc.parent.name === name)?.desc.parent;
  return (service && comments[service.typeName]) ?? name;
}

const commonHeaders: Readonly<Record<CommonHeader, Schema>> = {
  IdempotencyKey: {
    name: "Idempotency-Key",
    in: "header",
    schema: { type: "string", pattern: "^[!-~]{1,255}$" },
    description:
      "The same request under the same key is answered again in the same words, with `idempotency-replayed: true`, for 24 hours. Not with multipart bodies.",
  },
  ServerTimeout: {
    name: "X-Server-Timeout",
    in: "header",
    schema: { type: "number", exclusiveMinimum: 0, maximum: 86_400 },
    description: "Seconds that the call may take, at most 35 where nothing streams.",
  },
};

const string = { type: "string" };
const details = { type: "array", items: { type: "object" } };

function members(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: "object", properties, required: Object.keys(properties) };
}

const status = members({ code: { type: "integer" }, message: string, details });

const failureSchemas: Readonly<Record<string, Schema>> = {
  OpenAiError: members({
    error: members({
      message: string,
      type: string,
      param: { type: ["string", "null"] },
      code: { type: ["string", "null"] },
    }),
  }),
  AnthropicError: members({
    type: { const: "error" },
    error: members({ type: string, message: string }),
    request_id: string,
  }),
  GeminiError: {
    ...members({ error: members({ code: { type: "integer" }, message: string, status: string, details }) }),
    description: "A failure as Google's APIs tell it: https://google.aip.dev/193",
  },
  WeirError: { ...members({ error: status }), description: "google.rpc.Status under `error`." },
  Status: {
    ...status,
    description:
      "google.rpc.Status in proto JSON; `code` is that of gRPC. A stream of lines that fails ends with an object whose one member `error` is a Status, and one of events with an event `error`.",
  },
  ConnectError: {
    ...members({ code: string, message: string, details }),
    description: "https://connectrpc.com/docs/protocol/#error-end-stream",
  },
};

function failed(schema: string): Schema {
  return {
    description: "A failure.",
    content: { "application/json": { schema: { $ref: `#/components/schemas/${schema}` } } },
  };
}

const failureResponses: Schema = {
  openai: failed("OpenAiError"),
  anthropic: failed("AnthropicError"),
  gemini: failed("GeminiError"),
  weir: failed("WeirError"),
  status: failed("Status"),
  connect: failed("ConnectError"),
};
