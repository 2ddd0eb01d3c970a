import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Client } from "@weir/kit/call";
import { silentLog } from "@weir/kit/log";
import { createMesh } from "@weir/kit/mesh";
import { startServices } from "weir/compose";
import { readSettings } from "weir/settings";
import { stringify } from "yaml";
import { sourceConfig } from "./usage-source.ts";

/** The metering service with all its parts, in the test's own process. */
export interface RunningMetering {
  readonly usage: Client<typeof UsageService>;
  close(): Promise<void>;
}

/** Settings of a metering process. @param folder gets its weir.yaml */
export function meteringEnvironment(folder: string, databaseUrl: string, natsUrl?: string): Record<string, string> {
  const config = join(folder, "weir.yaml");
  writeFileSync(config, stringify(sourceConfig));
  return {
    WEIR_CONFIG: config,
    WEIR_DATA_DIR: folder,
    WEIR_LISTEN: "127.0.0.1:0",
    WEIR_DATABASE_URL: databaseUrl,
    WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
    ...(natsUrl === undefined ? {} : { WEIR_NATS_URL: natsUrl }),
  };
}

export async function startMetering(databaseUrl: string, natsUrl?: string): Promise<RunningMetering> {
  const folder = mkdtempSync(join(tmpdir(), "weir-metering-"));
  const settings = readSettings(meteringEnvironment(folder, databaseUrl, natsUrl));
  const running = await startServices(["metering"], settings, { env: {}, log: silentLog });
  const mesh = createMesh({ name: "test", peers: { metering: [running.address ?? ""] } });
  const usage = mesh.client(UsageService, "metering");
  await mesh.start();
  return {
    usage,
    async close() {
      await mesh.close();
      await running.drain(5000);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
