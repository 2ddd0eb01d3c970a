import { randomBytes } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import type { EdgeSettings } from "@weir/edge/config";
import { createOwnNames } from "@weir/edge/files/own-names";
import { withOwnedFiles } from "@weir/edge/files/owned-files";
import { rpcService } from "@weir/edge/rpc/public-methods";
import { pepper, startEdge, stopEdges } from "@weir/edge/testing/harness";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { createKeyText, keyDigest, parseKeyText } from "@weir/kit/api-key";
import { systemClock } from "@weir/kit/clock";
import { createMesh } from "@weir/kit/mesh";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { createMetering } from "@weir/metering/service";
import { openTestDatabase } from "@weir/metering/testing";
import { createFakeJournal, noBudgets, silent } from "@weir/pool/testing/pool-under-test";
import { createProviderSet } from "@weir/pool/provider-set";
import { createPool, type PoolOptions } from "@weir/pool/service";
import { createPriceList, type Price } from "@weir/price/price";
import { createRouter } from "@weir/router/service";
import { routingFromConfig } from "@weir/router/snapshot";
import { createSimulator } from "@weir/simulator/simulator";
import { createAttemptIds } from "weir/attempt-id";

const price = (model: string, more: Partial<Price> = {}): Price => ({
  id: `sim/${model}@always`,
  provider: "sim",
  model,
  effectiveTime: undefined,
  nanoUsdPerMillion: { input: 1_000_000n, cachedInput: 1_000_000n, cacheWrite: 1_000_000n, output: 2_000_000n },
  source: "a test",
  ...more,
});

export interface GatewayOptions {
  readonly budgets?: PoolOptions["budgets"];
  readonly settings?: Partial<EdgeSettings>;
  /** Base URL of one more provider, which the alias `elsewhere` leads to. */
  readonly elsewhere?: string;
}

interface Scope {
  readonly models?: string[];
  readonly endpoints?: string[];
  readonly collections?: string[];
}

/** Edge, router, pool and the records of metering, which meet over a link, before the simulator. */
export async function startGateway(options: GatewayOptions = {}) {
  const simulator = createSimulator({ receivedMax: 20 });
  const { url: simulatorUrl } = await simulator.listen();
  const database = await openTestDatabase("embedded");
  const config = create(ConfigSchema, {
    providers: {
      down: { kind: ProviderKind.OPENAI, baseUrl: "http://127.0.0.1:1/v1", apiKey: "sk-down" },
      sim: { kind: ProviderKind.OPENAI, baseUrl: `${simulatorUrl}/v1`, apiKey: "sk-secret" },
      elsewhere: { kind: ProviderKind.OPENAI, baseUrl: options.elsewhere ?? simulatorUrl, apiKey: "sk-elsewhere" },
      sole: {
        kind: ProviderKind.OPENAI,
        baseUrl: `${simulatorUrl}/v1`,
        apiKey: "sk-sole",
        accountTenants: ["acme"],
      },
      other: { kind: ProviderKind.ANTHROPIC, baseUrl: simulatorUrl, apiKey: "sk-other" },
    },
    passthrough: Object.fromEntries(
      ["files", "batches", "fine_tuning", "vector_stores", "moderations"].map((endpoint) => [endpoint, "sim"]),
    ),
    aliases: {
      "my-model": { targets: [{ provider: "sim", model: "real-model" }] },
      "second-choice": {
        targets: [
          { provider: "down", model: "real-model" },
          { provider: "sim", model: "real-model" },
        ],
        allowUnpriced: true,
      },
      elsewhere: { targets: [{ provider: "elsewhere", model: "real-model" }], allowUnpriced: true },
      // All that is kept in its account is the tenant `acme`'s.
      sole: { targets: [{ provider: "sole", model: "real-model" }], allowUnpriced: true },
      "any/*": { targets: [{ provider: "elsewhere", model: "" }], allowUnpriced: true },
      "wrong-kind": { targets: [{ provider: "other", model: "m" }], allowUnpriced: true },
      second: { targets: [{ provider: "sim", model: "second-model" }] },
      unpriced: { targets: [{ provider: "sim", model: "nobody-knows" }] },
    },
  });
  const halved = { input: 500_000n, cachedInput: 50_000n, cacheWrite: 500_000n, output: 1_000_000n };
  const prices = createPriceList(
    ["real-model", "second-model"].map((model) =>
      price(model, { tiers: [{ serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: halved }] }),
    ),
  );
  const metering = createMetering({
    database: database.database,
    pepper,
    clock: systemClock,
    ...noTelemetry,
    log: silent,
  });
  await metering.prepare(prices);
  const journal = createFakeJournal();
  const pool = createPool({
    providers: () => providers,
    prices: () => prices,
    journal,
    budgets: options.budgets ?? noBudgets,
    clock: systemClock,
    newAttemptId: createAttemptIds(),
    ...noTelemetry,
    log: silent,
  });
  const providers = createProviderSet(config);
  const routing = routingFromConfig(config, prices, 0);
  const backend = createMesh({ name: "backend", listen: "127.0.0.1:0" });
  const router = createRouter({
    attempts: backend.client(AttemptService, "pool"),
    forwards: backend.client(ForwardAttemptService, "pool"),
    routing: () => routing,
    clock: systemClock,
    random: () => 0.5,
    newAttemptId: createAttemptIds(),
    ...noTelemetry,
    log: silent,
  });
  backend.host("pool", AttemptService, pool.service);
  backend.host("pool", ForwardAttemptService, pool.forwarding, { trustsMesh: true });
  backend.host("router", ChatService, router.chat, { trustsMesh: true });
  backend.host("router", PassthroughService, router.passthrough, { trustsMesh: true });
  backend.host("router", RouteService, router.routes);
  backend.host("metering", ResourceService, metering.resources);
  backend.host("metering", ConversationService, metering.conversations);
  backend.host("metering", BatchService, metering.batches, { trustsMesh: true });
  const batches = backend.client(BatchService, "metering");
  await backend.start();
  const address = backend.status().address ?? "";
  const front = createMesh({ name: "edge", peers: { router: [address], metering: [address] } });
  const passthrough = front.client(PassthroughService, "router");
  const resources = front.client(ResourceService, "metering");
  const routes = front.client(RouteService, "router");
  const conversations = front.client(ConversationService, "metering");
  const ownNames = createOwnNames({ resources, routes, providers: () => config.providers, clock: systemClock });
  const chat = withOwnedFiles(front.client(ChatService, "router"), ownNames);
  await front.start();
  const edge = await startEdge({
    deps: { chat, passthrough, resources, ownNames, routes, conversations, rpc: [rpcService(ChatService, chat)] },
    ...(options.settings === undefined ? {} : { settings: options.settings }),
  });
  return {
    url: edge.url,
    port: edge.port,
    key: edge.key,
    edge,
    simulator,
    simulatorUrl,
    /** What the ledger would be told, in order. */
    events: journal.events,
    /** Attempts whose intent is on record. */
    intents: journal.intents,
    pool,
    front,
    /** Looks at the batches that are due, now. */
    keepBatches: () => pool.keepBatches(batches),
    query: database.query,
    /** Adds a key of a tenant. */
    addKey(tenant: string, scope: Scope = {}): string {
      const { id, text } = createKeyText(randomBytes);
      edge.feed({ records: [{ id, digest: keyDigest(pepper, text), tenant, scope }] });
      return text;
    },
    /** Gives a key of the tenant `acme` another scope. */
    confine(text: string, scope: Scope): void {
      const id = parseKeyText(text)?.id ?? "";
      edge.feed({ records: [{ id, digest: keyDigest(pepper, text), tenant: "acme", scope }] });
    },
    async close() {
      await stopEdges();
      await front.close();
      await pool.close();
      await backend.close();
      await simulator.close();
      await database.end();
    },
  };
}

/** An input file of a batch: a request for each of the models, by the provider's names. */
export function batchInput(...models: string[]): Buffer {
  const lines = models.map((model, at) => ({
    custom_id: `request-${at}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model, messages: [{ role: "user", content: "hi" }] },
  }));
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;
