import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import { createLog } from "@weir/kit/log";
import { createSimulator } from "@weir/simulator/simulator";
import pg from "pg";
import { type RunningServices, startServices } from "weir/compose";
import { readSettings, serviceNames } from "weir/settings";
import { stringify } from "yaml";
import { createDatabase, startPostgres } from "../servers.ts";

/** A whole gateway in the test's process, before a provider that it scripts, and on a database that it may look into. */
export interface WholeGateway {
  readonly services: RunningServices;
  readonly url: string;
  readonly simulator: ReturnType<typeof createSimulator>;
  /** Everything that was logged so far, at the level debug. */
  log(): string;
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** Makes a tenant. */
  createTenant(tenantId: string): Promise<void>;
  /** Makes a key that the edge knows. @returns its text and its id */
  createKey(
    tenantId: string,
    role: Role,
    displayName: string,
  ): Promise<{ readonly secret: string; readonly id: string }>;
  stop(): Promise<void>;
}

/** @param providerKey what the provider is called with @param environment more settings @param config more of weir.yaml */
export async function startWholeGateway(
  providerKey: string,
  environment: Readonly<Record<string, string>> = {},
  config: object = {},
): Promise<WholeGateway> {
  const undo: (() => unknown)[] = [];
  const stop = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const folder = mkdtempSync(join(tmpdir(), "weir-matrix-"));
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    const postgres = await startPostgres();
    undo.push(() => postgres.stop());
    const database = await createDatabase(postgres.url);
    undo.push(() => database.drop());
    const pool = new pg.Pool({ connectionString: database.url, max: 2 });
    // The database is dropped under connections that are just ending.
    pool.on("error", () => undefined);
    undo.push(() => pool.end());
    const simulator = createSimulator({ receivedMax: 100 });
    const { url: simulatorUrl } = await simulator.listen();
    undo.push(() => simulator.close());
    const configPath = join(folder, "weir.yaml");
    const sim = { kind: "openai", base_url: `${simulatorUrl}/v1`, api_key: providerKey };
    const prices = [{ provider: "sim", model: "*", input_usd_per_million: "1", output_usd_per_million: "1" }];
    const discovery = { environment: false, local: false, demo: false };
    const passthrough = Object.fromEntries(
      ["files", "batches", "fine_tuning", "vector_stores"].map((endpoint) => [endpoint, "sim"]),
    );
    const aliases = { small: { targets: [{ provider: "sim", model: "small" }] } };
    writeFileSync(configPath, stringify({ providers: { sim }, prices, discovery, passthrough, aliases, ...config }));
    const lines: string[] = [];
    const settings = readSettings({
      WEIR_CONFIG: configPath,
      WEIR_DATA_DIR: folder,
      WEIR_DATABASE_URL: database.url,
      WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
      WEIR_PORT: "0",
      WEIR_GRPC: "off",
      ...environment,
    });
    const log = createLog({ service: "weir", level: "debug", destination: { write: (line) => void lines.push(line) } });
    const services = await startServices(serviceNames, settings, { env: {}, log });
    undo.push(() => services.close());
    const url = services.url ?? "";
    const { accounts } = services.clients;
    return {
      services,
      url,
      simulator,
      log: () => lines.join(""),
      query: async (text, values) => (await pool.query<Record<string, unknown>>(text, values)).rows,
      async createTenant(tenantId) {
        await accounts.createTenant({ tenantId, displayName: `the tenant ${tenantId}` });
      },
      async createKey(tenantId, role, displayName) {
        const { key, secret } = await accounts.createKey({ tenant: `tenants/${tenantId}`, displayName, role });
        const headers = { authorization: `Bearer ${secret}` };
        for (;;) {
          const response = await fetch(`${url}/v1/routes`, { headers, signal: AbortSignal.timeout(10_000) });
          await response.body?.cancel();
          if (response.status === 200) return { secret, id: (key?.name ?? "").replace("keys/", "") };
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
