import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createLog } from "@weir/kit/log";
import { journalB, testEvent } from "@weir/metering/testing";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type RunningServices, startServices } from "weir/compose";
import { readSettings, serviceNames } from "weir/settings";
import { stringify } from "yaml";
import { createDatabase, startPostgres } from "../servers.ts";

// A whole gateway before a provider that says in which tier it served a call, and what its ledger makes of it.

const undo: (() => unknown)[] = [];
let weir: RunningServices;
let ledger: pg.Pool;
let key: string;

/**
 * Serves `flex` as asked, anything else in its standard tier, and counts as many tokens as the user's text says. Asked for `silence`
 * it does not say in which tier, and for `nothing` not even what it counted.
 */
const provider = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const asked = JSON.parse(Buffer.concat(chunks).toString()) as {
      service_tier?: string;
      messages: readonly { content: string }[];
    };
    const [counts = "", silence] = (asked.messages[0]?.content ?? "").split(", ");
    const [input = 0, cached = 0, output = 0] = counts.split(" ").map(Number);
    const usage = {
      prompt_tokens: input,
      completion_tokens: output,
      total_tokens: input + output,
      prompt_tokens_details: { cached_tokens: cached },
    };
    const message = { role: "assistant", content: "hello", refusal: null };
    response.setHeader("content-type", "application/json").end(
      JSON.stringify({
        id: "chatcmpl-1",
        object: "chat.completion",
        created: 1,
        model: "tiered",
        choices: [{ index: 0, message, logprobs: null, finish_reason: "stop" }],
        ...(silence !== "nothing" && { usage }),
        ...(silence === undefined && { service_tier: asked.service_tier === "flex" ? "flex" : "default" }),
      }),
    );
  });
});

beforeAll(async () => {
  const postgres = await startPostgres();
  const database = await createDatabase(postgres.url);
  undo.push(
    () => postgres.stop(),
    () => database.drop(),
  );
  const folder = mkdtempSync(join(tmpdir(), "weir-money-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  await once(provider.listen(0, "127.0.0.1"), "listening");
  undo.push(() => provider.close());
  const { port } = provider.address() as AddressInfo;
  const config = {
    discovery: { environment: false, local: false, demo: false },
    providers: { acme: { kind: "openai", base_url: `http://127.0.0.1:${port}/v1`, api_key: "sk-test" } },
    aliases: { chat: { targets: [{ provider: "acme", model: "tiered" }] } },
    prices: [
      {
        provider: "acme",
        model: "tiered",
        input_usd_per_million: "4",
        cached_input_usd_per_million: "1",
        output_usd_per_million: "8",
        tiers: [
          { input_tokens_above: 1_000, input_usd_per_million: "6", output_usd_per_million: "12" },
          {
            service_tier: "flex",
            input_usd_per_million: "2",
            cached_input_usd_per_million: "0.5",
            output_usd_per_million: "4",
          },
          {
            service_tier: "priority",
            input_usd_per_million: "7",
            cached_input_usd_per_million: "2",
            output_usd_per_million: "14",
          },
        ],
      },
    ],
  };
  writeFileSync(join(folder, "weir.yaml"), stringify(config));
  const env = {
    WEIR_CONFIG: join(folder, "weir.yaml"),
    WEIR_DATA_DIR: join(folder, "data"),
    WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
    WEIR_HOST: "127.0.0.1",
    WEIR_PORT: "0",
    WEIR_DATABASE_URL: database.url,
  };
  const log = createLog({ service: "weir", level: "silent", destination: { write: () => undefined } });
  weir = await startServices(serviceNames, readSettings(env), { env: {}, log });
  undo.push(() => weir.close());
  ledger = new pg.Pool({ connectionString: database.url, max: 1 });
  undo.push(() => ledger.end());
  key = (await weir.clients.accounts.createKey({ tenant: "tenants/default" })).secret;
  await vi.waitFor(async () => expect((await ask("1 0 1", { user: "nobody" })).status).toBe(200), { timeout: 10_000 });
});
afterAll(async () => {
  for (const step of undo.toReversed()) await step();
});

const ask = (content: string, more: object) =>
  fetch(`${weir.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "chat", messages: [{ role: "user", content }], ...more }),
  });

/** The row of a call, which has a user of its own. */
const rowOf = (user: string) =>
  vi.waitFor(
    async () => {
      const { rows } = await ledger.query<{
        attempt_id: string;
        service_tier: string | null;
        usage_source: string;
        cost_nano_usd: string;
      }>("select attempt_id, service_tier, usage_source, cost_nano_usd from attempt_details where end_user = $1", [
        user,
      ]);
      expect(rows).toHaveLength(1);
      return rows[0];
    },
    { timeout: 10_000, interval: 50 },
  );

test.each<[string, string, object, string | null, bigint]>([
  ["its rates", "1000 400 10", {}, null, 600n * 4_000n + 400n * 1_000n + 10n * 8_000n],
  ["rates of a long input, cached as before", "1001 400 10", {}, null, 601n * 6_000n + 400n * 1_000n + 10n * 12_000n],
  [
    "rates of the tier it was served in",
    "1001 400 10",
    { service_tier: "flex" },
    "flex",
    601n * 2_000n + 400n * 500n + 10n * 4_000n,
  ],
  [
    "standard rates where the provider served no better",
    "10 0 1",
    { service_tier: "priority" },
    null,
    10n * 4_000n + 8_000n,
  ],
])("an attempt costs %s, from the client to the ledger", async (name, content, more, tier, cost) => {
  expect((await ask(content, { ...more, user: name })).status).toBe(200);
  expect(await rowOf(name)).toMatchObject({
    service_tier: tier,
    usage_source: "reported",
    cost_nano_usd: String(cost),
  });
});

test.each<[string, object, string | null, bigint]>([
  ["asked for by name and dearer, is that one", { service_tier: "priority" }, "priority", 10n * 7_000n + 14_000n],
  ["asked for by name and cheaper, is the standard one", { service_tier: "flex" }, null, 48_000n],
  ["left to the provider, is the standard one", { service_tier: "auto" }, null, 48_000n],
])("a tier of which the provider says nothing, %s", async (name, more, tier, cost) => {
  expect((await ask("10 0 1, silence", { ...more, user: name })).status).toBe(200);
  // Its tokens are as reported as any: what a true-up may share out is not among them.
  expect(await rowOf(name)).toMatchObject({
    service_tier: tier,
    usage_source: "reported",
    cost_nano_usd: String(cost),
  });
});

test("an attempt whose provider counted nothing is counted, and costs as in the dearer tier", async () => {
  for (const [tier, kept] of [
    ["flex", null],
    ["priority", "priority"],
  ] as const) {
    expect((await ask("10 0 1, nothing", { service_tier: tier, user: `counted ${tier}` })).status).toBe(200);
    expect(await rowOf(`counted ${tier}`)).toMatchObject({ service_tier: kept, usage_source: "counted" });
  }
});

test("whoever changes the ledger through the edge stands in the audit log by its key", async () => {
  const call = (secret: string, path: string, body?: object) =>
    fetch(`${weir.url}${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const roles = { role: Role.ADMIN, everyTenant: true };
  const admin = await weir.clients.accounts.createKey({ tenant: "tenants/default", ...roles });
  const local = await weir.clients.accounts.createKey({ tenant: "tenants/default", role: Role.OWNER });
  expect((await ask("10 0 1, nothing", { user: "trued up" })).status).toBe(200);
  await rowOf("trued up");
  const day = new Date().toISOString().slice(0, 10);
  const trueUp = { provider: "acme", model: "tiered", day, counts: { inputTokens: "100000" } };
  await vi.waitFor(async () => expect((await call(local.secret, "/v1/ledger:trueUp", trueUp)).status).toBe(403), {
    timeout: 5_000,
  });
  const answer = await vi.waitFor(
    async () => {
      const response = await call(admin.secret, "/v1/ledger:trueUp", trueUp);
      expect(response.status).toBe(200);
      return (await response.json()) as { adjustedCount?: string };
    },
    { timeout: 5_000 },
  );
  expect(Number(answer.adjustedCount)).toBeGreaterThan(0);
  const listed = await call(admin.secret, "/v1/ledger:rerate", { asOf: new Date(Date.now() - 1).toISOString() });
  expect(await listed.json()).toMatchObject({ attemptCount: expect.any(String) });
  const id = admin.key?.name.slice("keys/".length);
  await vi.waitFor(
    async () => {
      const log = await call(admin.secret, "/v1/auditRecords?action=ledger.*");
      const { auditRecords } = (await log.json()) as { auditRecords: object[] };
      // Refusals are counted for a second or two before they are written.
      expect(auditRecords).toMatchObject(
        expect.arrayContaining([
          expect.objectContaining({
            action: "ledger.true_up",
            actor: { kind: "AUDIT_ACTOR_KIND_CALLER", key: id, role: "ROLE_ADMIN", tenant: "default" },
            requestId: expect.stringMatching(/^req_/),
          }),
          expect.objectContaining({
            action: "ledger.true_up",
            refusal: expect.objectContaining({ reason: "FORBIDDEN" }),
          }),
        ]),
      );
    },
    { timeout: 10_000, interval: 200 },
  );
});

test("usage that contradicts what stands in the ledger shows in the gateway's health, and stays aside", async () => {
  const database = async () => {
    const health = (await (await fetch(`${weir.url}/health`)).json()) as {
      dependencies: readonly { name: string; status: string; detail: string }[];
    };
    return health.dependencies.find(({ name }) => name.includes("database"));
  };
  expect((await database())?.detail).not.toContain("kept aside");
  const record = (...events: ReturnType<typeof testEvent>[]) =>
    weir.clients.usage.recordUsage({
      batch: create(UsageBatchSchema, { journalId: journalB, firstSequence: 1n, events }),
    });
  await record(testEvent(1), testEvent(1, { providerStatus: 500 }), testEvent(1, { providerStatus: 501 }));
  await vi.waitFor(
    async () =>
      expect(await database()).toMatchObject({
        status: "up",
        detail: expect.stringContaining("usage events are kept aside and need a look: 2, see `weir ledger conflicts`"),
      }),
    { timeout: 15_000, interval: 200 },
  );
  // What came first stands, as it was.
  const { rows } = await ledger.query(
    "select provider_status from attempts where provider_reply_id = 'chatcmpl-1' and tenant = 'default' and request_id = 'request-1'",
  );
  expect(rows).toEqual([{ provider_status: 200 }]);
});
