import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startWholeGateway, type WholeGateway } from "../tenant-matrix/gateway.ts";

// Secrets and content that must be nowhere but with those who sent them: not in logs at the level debug, metrics, traces, answers
// to others, errors, or the database.

const canaries = {
  providerKey: "sk-canary-provider-key",
  prompt: "canary-prompt-7f3a",
  reply: "canary-reply-7f3a",
  header: "canary-header-7f3a",
  cookie: "canary-cookie-7f3a",
  query: "canary-query-7f3a",
  path: "canary-path-7f3a",
  wrongKey: "weir_canarycanarycana_7f3a",
  wrongToken: "eyJjYW5hcnkiOjF9.eyJjYW5hcnkiOjJ9.Y2FuYXJ5",
  providerError: "canary-provider-error-7f3a",
  idempotencyKey: "canary-idempotency-key-7f3a",
  body: "canary-body-7f3a",
};

let gateway: WholeGateway;
let collector: Server;
let traces = "";
const secrets: string[] = [];
/** Answers to requests that were refused or failed. */
const errors: string[] = [];

beforeAll(async () => {
  collector = createServer((request, response) => {
    request.on("data", (part: Buffer) => {
      traces += part.toString("latin1");
    });
    request.on("end", () => response.end());
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const { port } = collector.address() as AddressInfo;
  gateway = await startWholeGateway(canaries.providerKey, {
    WEIR_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    WEIR_TRACE_RATIO: "1",
  });
  await gateway.createTenant("acme");
  const { secret } = await gateway.createKey("acme", Role.OWNER, "first");
  secrets.push(secret);
}, 90_000);

afterAll(async () => {
  await gateway.stop();
  collector.close();
});

interface Ask {
  readonly path?: string;
  readonly query?: string;
  readonly method?: string;
  readonly authorization?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

async function ask({
  query = `?x=${canaries.query}`,
  path = "/v1/chat/completions",
  method = "POST",
  authorization,
  headers,
  body,
}: Ask) {
  const response = await fetch(`${gateway.url}${path}${query}`, {
    method,
    headers: {
      authorization: authorization ?? `Bearer ${secrets[0]}`,
      "content-type": "application/json",
      "x-canary": canaries.header,
      "user-agent": canaries.header,
      referer: `https://x/${canaries.header}`,
      cookie: `a=${canaries.cookie}`,
      "x-forwarded-for": "192.0.2.7",
      ...headers,
    },
    signal: AbortSignal.timeout(20_000),
    ...(method !== "GET" && { body: typeof body === "string" ? body : JSON.stringify(body ?? {}) }),
  });
  const text = await response.text();
  if (response.status >= 400) errors.push(text);
  return { status: response.status, text };
}

const chat = { model: "small", messages: [{ role: "user", content: canaries.prompt }] };

test("nothing that a client or a provider says in confidence is in logs, metrics, traces, errors or the database", async () => {
  const { simulator } = gateway;
  simulator.script({ text: canaries.reply }, { times: 3 });
  const whole = await ask({ body: chat });
  expect([whole.status, whole.text.includes(canaries.reply)]).toEqual([200, true]);
  expect((await ask({ body: { ...chat, stream: true } })).status).toBe(200);
  const once = { "idempotency-key": canaries.idempotencyKey };
  expect((await ask({ body: chat, headers: once })).text).toContain(canaries.reply);
  expect((await ask({ body: chat, headers: once })).text).toContain(canaries.reply);
  expect((await ask({ body: { ...chat, n: 2 }, headers: once })).status).toBe(422);
  // What a request itself is at fault for, 400, is the one word of a provider that its client gets to read.
  for (const status of [401, 402, 403, 408, 429, 500, 503]) {
    simulator.script({ status, errorMessage: canaries.providerError }, { times: 3 });
    expect((await ask({ body: chat })).status).toBeGreaterThanOrEqual(400);
    simulator.clearScripts();
  }
  simulator.script({ status: 400, errorMessage: canaries.providerError }, { times: 1 });
  expect((await ask({ body: chat })).status).toBe(400);
  errors.pop();
  const made = await ask({
    path: "/v1/keys",
    query: "",
    body: { tenant: "tenants/acme", displayName: "second" },
    headers: { "idempotency-key": "for-a-new-key" },
  });
  const { secret = "" } = JSON.parse(made.text) as { secret?: string };
  expect(secret, made.text).toMatch(/^weir_/);
  secrets.push(secret);
  for (const request of [
    { body: `{"model":"small","messages":"${canaries.body}` },
    { body: { ...chat, messages: canaries.body } },
    { body: { ...chat, [canaries.body]: 1, temperature: canaries.body } },
    { path: `/v1/${canaries.path}` },
    { path: `/v1/responses/${canaries.path}`, method: "GET" },
    { path: `/v1/keys/${canaries.path}`, method: "GET" },
    { authorization: `Bearer ${canaries.wrongKey}`, body: chat },
    { authorization: `Bearer ${canaries.wrongToken}`, body: chat },
    { authorization: `Basic ${canaries.wrongKey}`, body: chat },
    { path: "/v1/teams", body: { teamId: canaries.body.toUpperCase() } },
    { headers: { "x-weir-tags": `=${canaries.header}` }, body: chat },
    { headers: { "idempotency-key": `${canaries.idempotencyKey} x` }, body: chat },
    { headers: { traceparent: canaries.header }, path: "/v1/nothing" },
    {
      headers: { "content-type": `multipart/form-data; boundary=${canaries.header}` },
      path: "/v1/files",
      body: canaries.body,
    },
  ]) {
    await ask(request);
  }
  expect(errors.length).toBeGreaterThan(15);
  // Everything that is told later has been told: usage, refusals, traces.
  await expect
    .poll(async () => (await gateway.query("select count(*)::int as n from attempts"))[0]?.["n"], { timeout: 10_000 })
    .toBeGreaterThanOrEqual(8);
  await expect
    .poll(async () => (await gateway.query("select 1 from audit_records where action = 'chat'")).length, {
      timeout: 10_000,
    })
    .toBeGreaterThan(0);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  await gateway.services.drain(5_000);
  await expect.poll(() => traces.length, { timeout: 10_000 }).toBeGreaterThan(1_000);

  const places: Record<string, string> = {
    log: gateway.log(),
    metrics,
    traces,
    errors: errors.join("\n"),
    database: await dump(),
  };
  for (const [place, text] of Object.entries(places)) expect(text.length, place).toBeGreaterThan(500);
  const found: string[] = [];
  const wanted = [...Object.entries(canaries), ...secrets.map((secret, index) => [`key ${index}`, secret] as const)];
  for (const [name, canary] of wanted) {
    const forms = [canary, Buffer.from(canary).toString("hex"), Buffer.from(canary).toString("base64").slice(0, -3)];
    for (const [place, text] of Object.entries(places)) {
      if (forms.some((form) => text.toLowerCase().includes(form.toLowerCase()))) found.push(`${name} in ${place}`);
    }
  }
  expect(found).toEqual([]);
}, 60_000);

/** Every row of every table, as text; bytes as hexadecimal digits. */
async function dump(): Promise<string> {
  const tables = await gateway.query(
    "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1",
  );
  const rows = await Promise.all(
    tables.map(({ relname }) => gateway.query(`select t::text as row from "${String(relname)}" t`)),
  );
  return rows
    .flat()
    .map(({ row }) => String(row))
    .join("\n");
}
