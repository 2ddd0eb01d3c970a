import type { Schema } from "./schema.ts";

/** One of the ways in which failures are told; each is a response among the components. */
export type FailureForm = "openai" | "anthropic" | "gemini" | "weir" | "status" | "connect";

/** What is said of one operation; the document puts it into OpenAPI's words. */
export interface OperationFacts {
  readonly tag: string;
  readonly operationId: string;
  /** A few words. */
  readonly summary: string;
  readonly description?: string | undefined;
  /** Of the vendor whose form it is. */
  readonly docsUrl?: string | undefined;
  readonly parameters?: readonly ParameterFacts[];
  /** By media type. */
  readonly request?: { readonly required: boolean; readonly content: Readonly<Record<string, MediaFacts>> } | undefined;
  readonly responseText: string;
  /** By media type; none: the answer has no body. */
  readonly response: Readonly<Record<string, MediaFacts>>;
  /** Default 200. */
  readonly status?: "101" | "200";
  readonly failures: FailureForm;
  readonly isOpen: boolean;
}

export interface MediaFacts {
  readonly schema: Schema;
  readonly example?: unknown;
}

export interface ParameterFacts {
  readonly name: string;
  readonly in: "path" | "query";
  readonly schema: Schema;
  readonly description?: string | undefined;
}

/** Headers that many operations read; each is a parameter among the components. */
export type CommonHeader = "IdempotencyKey" | "ServerTimeout";

/** The operation as OpenAPI 3.1 has it. https://spec.openapis.org/oas/v3.1.1.html#operation-object */
export function operationObject(facts: OperationFacts, headers: readonly CommonHeader[]): Schema {
  const { tag, operationId, summary, description, docsUrl, parameters = [], request, response, failures } = facts;
  const own = [
    ...parameters.map(parameterObject),
    ...headers.map((header) => ({ $ref: `#/components/parameters/${header}` })),
  ];
  const failure = { $ref: `#/components/responses/${failures}` };
  return {
    tags: [tag],
    operationId,
    summary,
    ...(description !== undefined && { description }),
    ...(docsUrl !== undefined && { externalDocs: { url: docsUrl, description: "The vendor's own page." } }),
    ...(own.length > 0 && { parameters: own }),
    ...(request !== undefined && { requestBody: { required: request.required, content: request.content } }),
    responses: {
      [facts.status ?? "200"]: {
        description: facts.responseText,
        ...(Object.keys(response).length > 0 && { content: response }),
      },
      "4XX": failure,
      "5XX": failure,
    },
    ...(facts.isOpen && { security: [] }),
  };
}

function parameterObject({ name, in: place, schema, description }: ParameterFacts): Schema {
  return {
    name,
    in: place,
    ...(place === "path" && { required: true }),
    ...(description !== undefined && { description }),
    schema,
  };
}
