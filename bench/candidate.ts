import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { start, withChildren } from "./processes.ts";

/** A running gateway that is measured. */
export interface Running {
  readonly url: string;
  /** Where it answers gRPC, if it does. */
  readonly grpc?: string;
  readonly key: string;
  readonly model: string;
  /** A model that streams at a fixed pace, for clients of Anthropic Messages; undefined where nothing translates. */
  readonly pacedModel?: string;
  /** The processes through which a request goes. */
  readonly pids: readonly number[];
  /** The processes that write the ledger behind it, the embedded database included. Counted apart. */
  readonly ledgerPids?: readonly number[];
  stop(): Promise<void>;
}

/** A gateway that can be measured. */
export interface Candidate {
  readonly name: string;
  /** Starts it in front of an OpenAI-compatible upstream. */
  start(upstreamUrl: string): Promise<Running>;
}

const node = process.execPath;

/** The upstream itself, without a gateway: what latency is compared with. */
export const direct: Candidate = {
  name: "direct",
  start: async (upstreamUrl) => ({ url: upstreamUrl, key: "none", model: "bench", pids: [], stop: async () => {} }),
};

/** The yardstick. */
export const bareProxy: Candidate = {
  name: "bare Node proxy",
  async start(upstreamUrl) {
    const proxy = await start(
      [node, join(import.meta.dirname, "candidates", "bare-proxy.ts"), upstreamUrl],
      /listening on (\S+)/,
    );
    return { url: proxy.ready[1] ?? "", key: "none", model: "bench", pids: [proxy.pid], stop: () => proxy.stop() };
  },
};

/** nginx as a plain reverse proxy; undefined where it is not installed. */
export function nginx(): Candidate | undefined {
  if (spawnSync("nginx", ["-v"]).status !== 0) return undefined;
  return {
    name: "nginx",
    async start(upstreamUrl) {
      const folder = mkdtempSync(join(tmpdir(), "weir-bench-nginx-"));
      const port = await freePort();
      const configuration = `
daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; client_max_body_size 64m; client_body_buffer_size 1m;
  upstream provider { server ${new URL(upstreamUrl).host}; keepalive 512; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}`;
      writeFileSync(join(folder, "nginx.conf"), configuration);
      const server = await start(
        ["nginx", "-c", join(folder, "nginx.conf"), "-p", folder],
        /start worker process(?:es)?/,
      );
      return {
        url: `http://127.0.0.1:${port}`,
        key: "none",
        model: "bench",
        pids: withChildren([server.pid]),
        async stop() {
          await server.stop();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
  };
}

/** A free TCP port of the loopback interface. */
export async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Another gateway, as `--candidates FILE` describes it. */
interface ExternalCandidate {
  readonly name: string;
  /** Command and arguments; `{upstream}`, `{port}` and `{folder}` are replaced. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files to write into its folder before the start, with the same replacements. */
  readonly files?: Readonly<Record<string, string>>;
  /** What its output says when it is ready, as a regular expression; `{port}` is replaced. */
  readonly ready: string;
  readonly key: string;
  readonly model: string;
  /** A model that streams at a fixed pace, for clients of Anthropic Messages; undefined where nothing translates. */
  readonly pacedModel?: string;
}

/** Reads the file that names other gateways: a JSON array of their descriptions. */
export function externalCandidates(path: string): Candidate[] {
  const described = JSON.parse(readFileSync(path, "utf8")) as ExternalCandidate[];
  return described.map((other) => ({
    name: other.name,
    async start(upstreamUrl) {
      const folder = mkdtempSync(join(tmpdir(), "weir-bench-other-"));
      const port = await freePort();
      const fill = (text: string) =>
        text.replaceAll("{upstream}", upstreamUrl).replaceAll("{port}", String(port)).replaceAll("{folder}", folder);
      for (const [name, text] of Object.entries(other.files ?? {})) writeFileSync(join(folder, name), fill(text));
      const env = Object.fromEntries(Object.entries(other.env ?? {}).map(([name, text]) => [name, fill(text)]));
      const server = await start(other.command.map(fill), new RegExp(fill(other.ready)), { env, cwd: folder });
      return {
        url: `http://127.0.0.1:${port}`,
        key: other.key,
        model: other.model,
        pids: withChildren([server.pid]),
        async stop() {
          await server.stop();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
  }));
}
