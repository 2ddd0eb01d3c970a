import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "@weir/gen/grpc/health/v1/health_pb";
import { createClient } from "@weir/kit/client";
import { createGrpcDoor } from "@weir/kit/grpc/client";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type LocalMesh, startLocalMesh } from "weir/local-mesh";
import { createDatabase, startNats, startPostgres, type TestServer } from "../servers.ts";

// deploy/compose.yaml as local processes: the commands and the environment that containers would get, with a real NATS
// and a real Postgres. What only an engine of containers does is not tested here: images are not built.

const root = dirname(dirname(import.meta.dirname));
const main = join(root, "services/weir/main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-deploy-"));
const lines: string[] = [];
const servers: TestServer[] = [];
let database: Awaited<ReturnType<typeof createDatabase>> | undefined;
let mesh: LocalMesh;

beforeAll(async () => {
  const [postgres, nats] = await Promise.all([startPostgres(), startNats({ shared: false })]);
  servers.push(postgres, nats);
  database = await createDatabase(postgres.url);
  mesh = await startLocalMesh({
    composePath: join(root, "deploy/compose.yaml"),
    dataDir: join(folder, "data"),
    env: { ...process.env, WEIR_NATS_URL: nats.url, WEIR_DATABASE_URL: database.url, WEIR_LOG_LEVEL: "warn" },
    port: 0,
    onLine: (name, line) => void lines.push(`${name} ${line}`),
    onProgress: (text) => void lines.push(text),
    signal: AbortSignal.timeout(120_000),
  });
}, 180_000);

afterAll(async () => {
  await mesh?.stop();
  await database?.drop();
  for (const server of servers) await server.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

async function chat(): Promise<Response> {
  return fetch(`${mesh.url}/v1/chat/completions`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${mesh.key.kind === "elsewhere" ? "" : mesh.key.text}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({ model: mesh.model, messages: [{ role: "user", content: "Hello" }] }),
    signal: AbortSignal.timeout(10_000),
  });
}

test("the edge answers gRPC on the port that is published for it", async () => {
  const door = createGrpcDoor({ address: mesh.environment("edge")["WEIR_GRPC"] ?? "" });
  try {
    const { status } = await createClient(Health, door).check({}, { timeoutMs: 10_000 });
    expect(status).toBe(ServingStatus.SERVING);
  } finally {
    door.close();
  }
});

test("a chat goes through all services and stands in Postgres", async () => {
  expect(mesh.key.kind).toBe("created");
  const response = await chat();
  const answer = (await response.json()) as { usage: { prompt_tokens: number; completion_tokens: number } };
  expect(response.status, lines.join("\n")).toBe(200);

  const client = new pg.Client({ connectionString: database?.url });
  await client.connect();
  try {
    await vi.waitFor(
      async () => {
        const { rows } = await client.query<Record<string, unknown>>(
          "select alias, attempts, input_tokens, output_tokens from cost_by_day",
        );
        expect(rows).toMatchObject([
          {
            alias: "weir-demo",
            attempts: "1",
            input_tokens: String(answer.usage.prompt_tokens),
            output_tokens: String(answer.usage.completion_tokens),
          },
        ]);
      },
      { timeout: 20_000, interval: 100 },
    );
  } finally {
    await client.end();
  }
});

test.each(["edge", "router", "pool", "metering"])("the health check of %s finds it well", async (name) => {
  const env = { PATH: process.env["PATH"] ?? "", ...mesh.environment(name) };
  const { stdout } = await promisify(execFile)(process.execPath, [main, "health"], { env, cwd: folder });
  expect(stdout).toBe("well\n");
});

test("a health check of what is not there fails", async () => {
  const env = { PATH: process.env["PATH"] ?? "", WEIR_LISTEN: "127.0.0.1:1" };
  await expect(promisify(execFile)(process.execPath, [main, "health"], { env, cwd: folder })).rejects.toMatchObject({
    code: 1,
    stderr: "weir: 127.0.0.1:1 does not answer\n",
  });
});

test.each(["router", "pool", "edge"])(
  "%s is started again after a kill, and chats are answered again",
  async (name) => {
    const before = mesh.pid(name);
    expect(before).toBeDefined();
    process.kill(before ?? 0, "SIGKILL");
    await vi.waitFor(
      async () => {
        expect(mesh.pid(name)).toBeDefined();
        expect(mesh.pid(name)).not.toBe(before);
        expect((await chat()).status).toBe(200);
      },
      { timeout: 30_000, interval: 100 },
    );
  },
);

test("two gateways do not share a data folder", async () => {
  const second = startLocalMesh({
    composePath: join(root, "deploy/compose.yaml"),
    dataDir: join(folder, "data"),
    env: { PATH: process.env["PATH"] },
    port: 0,
    onLine: () => {},
    onProgress: () => {},
    signal: AbortSignal.timeout(10_000),
  });
  await expect(second).rejects.toThrow("runs on");
});
