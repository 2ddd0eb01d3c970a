import { createConfig, lintFromString } from "@redocly/openapi-core";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { afterEach, expect, test } from "vitest";
import { rpcService } from "../rpc/public-methods.ts";
import { startEdge, stopEdges } from "../testing/harness.ts";
import type { OpenApiDocument } from "./document.ts";
import { documentPath } from "./paths.ts";
import type { Schema } from "./schema.ts";

afterEach(stopEdges);

/** As services/weir/parts/edge.ts has them, with nobody behind them. */
const away = createLocalDoor([]);
const rpc = [
  ChatService,
  RouteService,
  AccountService,
  TeamService,
  UserService,
  AuditService,
  BudgetService,
  UsageService,
  LedgerService,
].map((service) => rpcService(service, createClient(service, away)));

async function fetchDocument(): Promise<{ document: OpenApiDocument; url: string }> {
  const { url } = await startEdge({ deps: { rpc } });
  const answer = await fetch(`${url}/openapi.json`);
  expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
  return { document: (await answer.json()) as OpenApiDocument, url };
}

function operationsOf({ paths }: OpenApiDocument) {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
}

test("a linter finds nothing wrong with it", async () => {
  const { document } = await fetchDocument();
  const config = await createConfig({
    extends: ["recommended"],
    // Paths of google.api.http have verbs after a colon; what becomes a WebSocket answers 101 alone.
    rules: { "no-ambiguous-paths": "off", "operation-2xx-response": "off" },
  });
  const problems = await lintFromString({ source: JSON.stringify(document), config });
  expect(
    problems.map(({ ruleId, severity, message, location }) => ({
      ruleId,
      severity,
      message,
      at: location[0]?.pointer,
    })),
  ).toEqual([]);
});

test("every operation that it tells of is served", async () => {
  const { document, url } = await fetchDocument();
  for (const { path, method } of operationsOf(document)) {
    const filled = path.replaceAll(/\{[^}]+\}/g, "x");
    const answer = await fetch(`${url}${filled}`, { method: "OPTIONS" });
    expect(answer.headers.get("allow")?.split(", "), `${method} ${path}`).toContain(method.toUpperCase());
  }
});

test("operations have names of their own, words, and refer to nothing that is not there", async () => {
  const { document } = await fetchDocument();
  const operations = operationsOf(document);
  expect(operations.length).toBeGreaterThan(100);
  const ids = operations.map(({ operation }) => operation["operationId"]);
  expect(new Set(ids).size).toBe(ids.length);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1] ?? "");
  for (const reference of new Set(references)) {
    const found = reference.split("/").reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], document);
    expect(found, reference).toBeTypeOf("object");
  }
});

test("a refusal of any operation is what the document says of its failures", async () => {
  const { document, url } = await fetchDocument();
  const { schemas, responses } = document.components as Record<string, Record<string, Schema>>;
  const keyed = operationsOf(document).filter(({ operation }) => operation["security"] === undefined);
  for (const { path, method, operation } of keyed) {
    const answer = await fetch(`${url}${path.replaceAll(/\{[^}]+\}/g, "x")}`, {
      method: method.toUpperCase(),
      ...(operation["requestBody"] !== undefined && { headers: { "content-type": "application/json" }, body: "{}" }),
    });
    const [failure] = Object.values(operation["responses"] as Record<string, Schema>).slice(-1);
    const form = responses?.[nameOf(failure)] as { content: Record<string, { schema: Schema }> } | undefined;
    const schema = schemas?.[nameOf(form?.content["application/json"]?.schema)];
    expectMembers(await answer.json(), schema ?? {}, `${method} ${path}`);
  }
});

/** What a reference refers to. */
function nameOf(reference: Schema | undefined): string {
  return String(reference?.["$ref"]).split("/").at(-1) ?? "";
}

/** Whether an object has all members that are required, and no others. */
function expectMembers(value: unknown, { properties, required }: Schema, place: string): void {
  expect(Object.keys(value as object).sort(), place).toEqual([...(required as string[])].sort());
  for (const [name, schema] of Object.entries(properties as Record<string, Schema>)) {
    if ("properties" in schema) expectMembers((value as Record<string, unknown>)[name], schema, `${place}: ${name}`);
  }
}

test("comments and rules of the protos are in it", async () => {
  const { document } = await fetchDocument();
  const schemas = document.components["schemas"] as Record<
    string,
    { description?: string; properties: Record<string, object> }
  >;
  const generate = schemas["weir.chat.v1.GenerateRequest"];
  expect(generate?.description).toContain("A conversation to continue.");
  expect(generate?.properties["maxOutputTokens"]).toMatchObject({ type: "integer", minimum: 1, maximum: 10_000_000 });
  expect(generate?.properties["model"]).toMatchObject({ minLength: 1, maxLength: 512 });
});

test("headers that operations read are told, and shown on the page to read", async () => {
  const { document, url } = await fetchDocument();
  const parametersOf = (path: string, method: string) => JSON.stringify(document.paths[path]?.[method]?.["parameters"]);
  expect(parametersOf("/v1/teams", "post")).toMatch(/IdempotencyKey.*ServerTimeout/);
  expect(parametersOf("/v1/teams", "get")).not.toContain("IdempotencyKey");
  expect(parametersOf("/v1/chat/completions", "post")).not.toContain("ServerTimeout");
  const page = await (await fetch(`${url}/redoc`)).text();
  expect(page.match(/Idempotency-Key/g)?.length).toBeGreaterThan(50);
});

test.each([
  ["/v1/{name=teams/*}", "/v1/teams/{team}"],
  ["/v1/{model=models/**}:generate", "/v1/models/{model}:generate"],
  ["/v1/models/{id=**}", "/v1/models/{model}"],
  ["/openai/deployments/{deployment}/embeddings", "/openai/deployments/{deployment}/embeddings"],
  ["/docs/{file}", "/docs/{doc}"],
])("%s is written %s", (template, path) => {
  expect(documentPath(template).path).toBe(path);
});

test("pages and their files come from this machine, run no inline script, and are kept by their tags", async () => {
  const { url } = await startEdge();
  for (const path of ["/docs", "/redoc", "/docs/swagger-ui-bundle.js", "/docs/reading.css"]) {
    const answer = await fetch(`${url}${path}`);
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(answer.status, path).toBe(200);
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/script-src[^;]*unsafe/);
    const text = await answer.text();
    if (!path.includes(".")) expect(text).not.toMatch(/(?:src|href)="(?:https?:)?\/\/[^"]*\.(?:js|css)|<script>/);
    const tag = answer.headers.get("etag") ?? "";
    for (const known of [tag, `W/${tag}`, `"x", W/${tag}`]) {
      const again = await fetch(`${url}${path}`, { headers: { "if-none-match": known } });
      // A length would be taken for that of what is kept.
      expect([again.status, again.headers.get("content-length")]).toEqual([304, null]);
    }
  }
  expect((await fetch(`${url}/docs/..%2f..%2fpackage.json`)).status).toBe(404);
});

test("tables that are also given as CSV say so", async () => {
  const { document } = await fetchDocument();
  for (const [path, method] of [
    ["/v1/costs", "get"],
    ["/v1/attempts", "get"],
    ["/v1/usage:export", "post"],
  ] as const) {
    const operation = document.paths[path]?.[method] as {
      parameters?: { name?: string }[];
      responses: { "200": { content: object } };
    };
    expect(Object.keys(operation.responses["200"].content), path).toContain("text/csv");
    if (method === "get")
      expect(
        operation.parameters?.map(({ name }) => name),
        path,
      ).toContain("format");
  }
});
