import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Candidate } from "./candidate.ts";
import { chunkTokens, pacedChunks, pacedGapMs } from "./load.ts";
import { start, withChildren } from "./processes.ts";

const main = join(import.meta.dirname, "..", "services", "weir", "main.ts");

/** A folder of its own with a weir.yaml: the upstream as a priced provider, and limits that count but do not bite. */
function createFolder(upstreamUrl: string): { path: string; config: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "weir-bench-"));
  const config = join(path, "weir.yaml");
  writeFileSync(
    config,
    `edge: { requests_per_minute: 100000000, tokens_per_minute: 4000000000 }
discovery: { environment: false, local: false, demo: false }
providers:
  upstream: { kind: openai, base_url: "${upstreamUrl}/v1", models: [bench], calls_max: 8192 }
  # A script in a translated body would not reach the upstream, so this one always streams as the other is asked to.
  paced:
    kind: openai
    base_url: "${upstreamUrl}/v1"
    headers: { x-sim-tokens: "${pacedChunks * chunkTokens}", x-sim-chunk-tokens: "${chunkTokens}", x-sim-gap-ms: "${pacedGapMs}", x-sim-stamp: "true" }
aliases:
  bench: { targets: [{ provider: upstream, model: bench-model }] }
  paced: { targets: [{ provider: paced, model: bench-model }] }
prices:
  - { provider: upstream, model: bench-model, input_usd_per_million: "2.50", output_usd_per_million: "10" }
  - { provider: paced, model: bench-model, input_usd_per_million: "2.50", output_usd_per_million: "10" }
`,
  );
  return { path, config, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 3 }) };
}

/** `npm start`: edge, router and pool in one process, metering with its embedded database in another. */
export const weirOneProcess: Candidate = {
  name: "Weir, one process",
  async start(upstreamUrl) {
    const folder = createFolder(upstreamUrl);
    const gateway = await start(
      [
        process.execPath,
        main,
        "start",
        "--port",
        "0",
        "--config",
        folder.config,
        "--data-dir",
        join(folder.path, "data"),
      ],
      /Weir answers at (\S+)\/v1[^]*?(weir_\w+)[^]*?gRPC +at (\S+)/,
      { timeoutMs: 120_000 },
    );
    return {
      url: gateway.ready[1] ?? "",
      key: gateway.ready[2] ?? "",
      grpc: gateway.ready[3] ?? "",
      model: "bench",
      pacedModel: "paced",
      pids: [gateway.pid],
      ledgerPids: withChildren([gateway.pid]).filter((pid) => pid !== gateway.pid),
      async stop() {
        await gateway.stop();
        folder.remove();
      },
    };
  },
};

/** Edge, router and pool as three processes with links between them, and metering with its embedded database as a fourth. */
export const weirThreeProcesses: Candidate = {
  name: "Weir, three processes",
  async start(upstreamUrl) {
    const folder = createFolder(upstreamUrl);
    const address = (service: string) => `unix:${join(folder.path, `${service}.sock`)}`;
    const env = {
      ...process.env,
      WEIR_CONFIG: folder.config,
      WEIR_PORT: "0",
      WEIR_LOG_LEVEL: "warn",
      WEIR_KEY_PEPPER: "a pepper for benchmarks, which guards nothing",
      WEIR_PEER_ROUTER: address("router"),
      WEIR_PEER_POOL: address("pool"),
      WEIR_PEER_METERING: address("metering"),
    };
    const children: ChildProcess[] = [];
    const serve = async (service: string): Promise<string> => {
      const child = fork(main, ["serve", service, "--data-dir", join(folder.path, service)], {
        env: service === "edge" ? env : { ...env, WEIR_LISTEN: address(service) },
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      children.push(child);
      return new Promise((resolve, reject) => {
        child.once("message", (message: { url?: string }) => resolve(message.url ?? ""));
        child.once("exit", (code) => reject(new Error(`weir serve ${service} ended with ${code}`)));
      });
    };
    let url = "";
    for (const service of ["metering", "pool", "router", "edge"]) url = await serve(service);
    const keys = [main, "keys", "create", "--address", address("metering")];
    const key = execFileSync(process.execPath, keys, { env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    for (let tries = 0; (await fetch(`${url}/health/ready`)).status !== 200; tries += 1) {
      if (tries > 100) throw new Error("the edge did not become ready");
      await delay(100);
    }
    return {
      url,
      key: key.trim(),
      model: "bench",
      pacedModel: "paced",
      pids: children.slice(1).map((child) => child.pid ?? 0),
      ledgerPids: children.slice(0, 1).map((child) => child.pid ?? 0),
      async stop() {
        const gone = children.map((child) => new Promise((resolve) => child.once("exit", resolve)));
        for (const child of children.toReversed()) child.kill("SIGTERM");
        const timer = setTimeout(() => children.forEach((child) => void child.kill("SIGKILL")), 15_000);
        await Promise.all(gone);
        clearTimeout(timer);
        folder.remove();
      },
    };
  },
};
