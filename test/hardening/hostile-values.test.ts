import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { type DescField, type DescMessage, type DescMethod, ScalarType } from "@bufbuild/protobuf";
import { createPublicMethods } from "@weir/edge/rpc/public-methods";
import { resolveHttpMethods } from "@weir/edge/transcode/rules";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { systemClock } from "@weir/kit/clock";
import { methodPath } from "@weir/kit/context";
import { createMesh } from "@weir/kit/mesh";
import { afterAll, beforeAll, expect, test } from "vitest";
import { clientsOfEdge } from "weir/parts/edge";
import { examplePath } from "../tenant-matrix/example-path.ts";
import { startWholeGateway, type WholeGateway } from "../tenant-matrix/gateway.ts";

// Characters that mean something to SQL, to HTTP or to a template, wherever a client may write something, at every route of a real
// gateway: what they are in is refused or finds nothing, as any other wrong value, is told to nobody again and is written nowhere.

/** Found nowhere else. */
const canary = "wqx7canary";
const value = `${canary}' or '1'='1'; drop table keys; -- "\\)(*&^$\{{7*7}}<svg/onload=1>\`|`;
/** As they stand in a path or a query. */
const encoded: readonly string[] = [
  encodeURIComponent(value),
  `${canary}%0d%0aset-cookie:%20${canary}=1%0d%0a%0d%0a%00%ff%c0%af..%2f..%2f`,
];
/** As they stand in a body. */
const texts: readonly string[] = [value, `${canary}\0\r\nset-cookie: a=1\ud800`];

/** Headers by which a request is refused that has them wrong: one in each request. */
const strict: readonly string[] = [
  "content-encoding",
  "content-type",
  "idempotency-key",
  "sec-websocket-protocol",
  "x-server-timeout",
  "x-weir-tags",
];
/** The same of Connect and gRPC-Web. */
const protocol: readonly string[] = [
  "connect-content-encoding",
  "connect-protocol-version",
  "connect-timeout-ms",
  "grpc-encoding",
  "grpc-timeout",
];
/** One at each route: it is the same door before all of them. */
const credentials: readonly string[] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
/** Headers that are read for what they are worth, handed on, or left alone: all of them in each request. */
const lenient = Object.fromEntries(
  [
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "baggage",
    "cookie",
    "forwarded",
    "if-none-match",
    "last-event-id",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "origin",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "weir-principal-bin",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-request-id",
    "x-stainless-timeout",
  ].map((name) => [name, value]),
);

/** Members of bodies, and parameters, by which routes without a proto name things. */
const members: readonly string[] = [
  "previous_response_id",
  "conversation",
  "input_file_id",
  "training_file",
  "file_ids",
  "purpose",
  "after",
  "order",
  "include",
  "alt",
  "key",
  "api-version",
];

type Route = WholeGateway["services"]["publicRoutes"][number];

const agent = new Agent({ keepAlive: true, maxSockets: 3 });
let gateway: WholeGateway;
let bearer: string;
let before: string;
/** Texts of what methods take, by method and path of their routes. */
let inputs: ReadonlyMap<string, ReturnType<typeof textFields>>;
const faults: string[] = [];
let asked = 0;

beforeAll(async () => {
  gateway = await startWholeGateway("sk-provider");
  await gateway.createTenant("acme");
  bearer = `Bearer ${(await gateway.createKey("acme", Role.OWNER, "owner")).secret}`;
  const mesh = createMesh({ name: "hostile" });
  const methods = createPublicMethods(clientsOfEdge(mesh, systemClock, () => ({})).rpc).map(({ desc }) => desc);
  const unary = methods.filter(({ methodKind }) => methodKind === "unary");
  inputs = new Map([
    ...unary.map((method) => [`POST /${methodPath(method)}`, textFields(method.input)] as const),
    ...resolveHttpMethods(methods).flatMap(({ bindings }, index) =>
      bindings.map((binding) => {
        const { input } = methods[index] as DescMethod;
        return [`${binding.httpMethod} ${binding.template.text}`, textFields(input)] as const;
      }),
    ),
  ]);
  before = await counts();
}, 90_000);

afterAll(async () => {
  agent.destroy();
  await gateway.stop();
});

/**
 * Rows of every table but those of refusals and of requests that are over, which are in Weir's own words, and of what calls used and made
 * that are handed on.
 */
async function counts(): Promise<string> {
  const tables = await gateway.query(
    "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE' order by 1",
  );
  const grown = await Promise.all(
    tables
      .map(({ table_name: name }) => String(name))
      .filter((name) => !/^(?:audit_records|request_records|journals|attempts|transfers|resources)/.test(name))
      .map(async (name) => [name, (await gateway.query(`select count(*) from "${name}"`))[0]?.["count"]]),
  );
  return JSON.stringify(grown);
}

interface Ask {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

function ask({ method, path, headers: more = {}, body }: Ask): Promise<{ status: number; told: string }> {
  const takesBody = method !== "GET" && method !== "DELETE" && method !== "HEAD";
  return new Promise((resolve, reject) => {
    const sent = request(
      `${gateway.url}${path}`,
      {
        method,
        agent,
        headers: { authorization: bearer, "content-type": "application/json", ...more },
        signal: AbortSignal.timeout(15_000),
      },
      (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 0, told: textOf(answer.headers) + Buffer.concat(parts).toString() }),
        );
      },
    );
    sent.on("error", reject);
    sent.end(takesBody ? JSON.stringify(body ?? {}) : undefined);
  });
}

function textOf(answered: IncomingHttpHeaders): string {
  return `${JSON.stringify(answered)}\n`;
}

async function check(route: Route, what: string, sent: Omit<Ask, "method">): Promise<void> {
  asked += 1;
  const { status, told } = await ask({ method: route.method, ...sent });
  // Details of errors stand there in base 64, too.
  const decoded = [...told.matchAll(/"value":"([^"]*)"/g)].map(([, coded = ""]) =>
    Buffer.from(coded, "base64").toString(),
  );
  const isEchoed = status >= 400 && [told, ...decoded].some((text) => text.includes(canary));
  const hasSplit = /set-cookie/i.test(told.slice(0, told.indexOf("\n")));
  // That an encoding is not implemented is what Connect says of one that nobody knows.
  const isDefect = status >= 500 && !(status === 501 && what.endsWith("encoding"));
  if (isDefect || isEchoed || hasSplit) {
    faults.push(
      `${route.method} ${route.path}, ${what}: ${status}${isEchoed ? ", echoed" : ""}${hasSplit ? ", split" : ""}`,
    );
  }
}

/** Runs checks, a few at once: sums of costs are answered four at a time. */
async function each(checks: readonly (() => Promise<void>)[]): Promise<void> {
  const rest = [...checks];
  await Promise.all(
    Array.from({ length: 3 }, async () => {
      for (let next = rest.pop(); next !== undefined; next = rest.pop()) await next();
    }),
  );
}

/** Texts of a message, by their paths; free texts may be anything. */
function textFields({ fields }: DescMessage, depth = 0): (readonly [path: string, build: (text: string) => object])[] {
  return fields.flatMap((field): (readonly [string, (text: string) => object])[] => {
    if (field.name === "display_name" || field.name === "email") return [];
    const { jsonName } = field;
    if (isText(field)) return [[jsonName, (text) => ({ [jsonName]: field.fieldKind === "list" ? [text] : text })]];
    if (field.fieldKind !== "message" || depth > 0) return [];
    return textFields(field.message, depth + 1).map(
      ([path, build]) => [`${jsonName}.${path}`, (text) => ({ [jsonName]: build(text) })] as const,
    );
  });
}

function isText(field: DescField): boolean {
  if (field.fieldKind === "scalar") return field.scalar === ScalarType.STRING;
  return field.fieldKind === "list" && field.listKind === "scalar" && field.scalar === ScalarType.STRING;
}

/** Of a route that stands under `/v1`, and without it or where clients of Azure look, the former. */
function routes(): readonly Route[] {
  const all = gateway.services.publicRoutes;
  const paths = new Set(all.map(({ path }) => path));
  return all.filter(({ path }) => !paths.has(path.replace(/^(?:\/openai(?:\/v1)?)?/, "/v1")));
}

test("in headers", async () => {
  await each(
    routes().flatMap((route, index) => {
      const path = examplePath(route.path, "a1");
      const read = route.path.startsWith("/weir.") ? [...strict, ...protocol] : strict;
      const credential = credentials[index % credentials.length] as string;
      return [
        () => check(route, "headers", { path, headers: lenient }),
        ...read.map((name) => () => check(route, name, { path, headers: { [name]: value } })),
        () => check(route, credential, { path, headers: { authorization: "", [credential]: value } }),
      ];
    }),
  );
  expect(faults.splice(0)).toEqual([]);
}, 60_000);

test("in every segment of a path that a client chooses, and in parameters", async () => {
  await each(
    routes().flatMap((route) => {
      const path = examplePath(route.path, "a1");
      return encoded.flatMap((text) => [
        ...(route.path.includes("{") ? [() => check(route, "the path", { path: examplePath(route.path, text) })] : []),
        ...parametersOf(route, text).map(
          (query) => () => check(route, `?${query.slice(0, 20)}`, { path: `${path}?${query}` }),
        ),
      ]);
    }),
  );
  expect(faults.splice(0)).toEqual([]);
}, 60_000);

/** Queries: those of a method have its fields, one in each, since it refuses what it does not know. */
function parametersOf(route: Route, text: string): readonly string[] {
  const fields = inputs.get(`${route.method} ${route.path}`);
  if (fields !== undefined) return [...fields.map(([name]) => `${name}=${text}`), `${text}=1`];
  const names = route.path.startsWith("/weir.") ? ["connect", "encoding", "compression", "base64", "message"] : members;
  return [names.map((name) => `${name}=${text}`).join("&"), `${text}=1`];
}

test("in members of bodies: every text of every method, and what dialects name things by", async () => {
  await each(
    routes()
      .filter(({ method }) => method !== "GET" && method !== "DELETE")
      .flatMap((route) => {
        const path = examplePath(route.path, "a1");
        const fields = inputs.get(`${route.method} ${route.path}`);
        return texts.flatMap((text) =>
          fields === undefined
            ? [{ model: text }, { [text]: text }, Object.fromEntries(members.map((name) => [name, text]))].map(
                (body) => () => check(route, "the body", { path, body: { input: "a", ...body } }),
              )
            : fields.map(
                ([name, build]) =>
                  () =>
                    check(route, name, { path, body: build(text) }),
              ),
        );
      }),
  );
  expect(faults.splice(0)).toEqual([]);
}, 60_000);

test("none of them is in a log or in any table, and nothing was written but refusals", async () => {
  expect(asked).toBeGreaterThan(1_000);
  expect(gateway.log()).not.toContain(canary);
  expect(await counts()).toBe(before);
  const tables = await gateway.query(
    "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'",
  );
  for (const { table_name: name } of tables) {
    const found = await gateway.query(`select t::text as row from "${String(name)}" t where t::text like $1 limit 1`, [
      `%${canary}%`,
    ]);
    expect(found, String(name)).toEqual([]);
  }
});
