import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import { addressFault } from "./environment-values.ts";
import { environmentOf, readSettings, SettingsError, withoutSettings } from "./settings.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-settings-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    readSettings(env);
    return [];
  } catch (error) {
    if (error instanceof SettingsError) return error.faults;
    throw error;
  }
}

test("an empty environment gives the defaults", () => {
  expect(readSettings({})).toMatchObject({
    dataDir: resolve(".weir"),
    host: "127.0.0.1",
    port: 8787,
    listen: undefined,
    peers: {},
    natsUrl: undefined,
    redisUrl: undefined,
    databaseUrl: undefined,
    pepper: undefined,
    logLevel: "info",
  });
  expect(readSettings({ WEIR_PORT: " ", WEIR_LOG_LEVEL: "" }, { port: 1, logLevel: "warn" })).toMatchObject({
    port: 1,
    logLevel: "warn",
  });
});

test("gRPC is where it is said to be, or where the command puts it, or off", () => {
  const byDefault = { grpc: "127.0.0.1:8788" };
  expect(readSettings({}).grpc).toBeUndefined();
  expect(readSettings({}, byDefault).grpc).toBe("127.0.0.1:8788");
  expect(readSettings({ WEIR_GRPC: "off" }, byDefault).grpc).toBeUndefined();
  expect(readSettings({ WEIR_GRPC: "0.0.0.0:1" }, byDefault).grpc).toBe("0.0.0.0:1");
  expect(faultsOf({ WEIR_GRPC: "unix:/x" })).toEqual([expect.stringContaining("WEIR_GRPC: expected host:port")]);
  expect(faultsOf({ WEIR_GRPC_TLS_KEY_FILE: import.meta.filename })).toEqual([expect.stringContaining("go together")]);
  expect(faultsOf({ WEIR_GRPC_TLS_CA_FILE: import.meta.filename })).toEqual([
    expect.stringContaining("a port with a certificate"),
  ]);
});

test("tells all faults at once, and no secret", () => {
  const secret = "canary-4711";
  const faults = faultsOf({
    WEIR_PORT: "65536",
    WEIR_LISTEN: "nine",
    WEIR_PEER_POOL: "pool:9000, pool",
    WEIR_NATS_URL: `http://${secret}@nats`,
    WEIR_REDIS_URL: `http://:${secret}@redis`,
    WEIR_DATABASE_URL: `mysql://weir:${secret}@db/weir`,
    WEIR_KEY_PEPPER: secret,
    WEIR_TLS_CERT_FILE: "/none",
    WEIR_LOG_LEVEL: "loud",
    WEIR_TRACE_RATIO: "2",
    WEIR_PEER_ROUTERS: "router:9000",
    WEIR_TEST_ANYTHING: "is not ours",
  });
  expect(faults.map((fault) => fault.split(/[:,]/)[0] ?? "").toSorted()).toEqual([
    "WEIR_DATABASE_URL",
    "WEIR_KEY_PEPPER",
    "WEIR_LISTEN",
    "WEIR_LOG_LEVEL",
    "WEIR_NATS_URL",
    "WEIR_PEER_POOL",
    "WEIR_PEER_ROUTERS",
    "WEIR_PORT",
    "WEIR_REDIS_URL",
    "WEIR_TLS_CERT_FILE",
    "WEIR_TLS_CERT_FILE",
    "WEIR_TRACE_RATIO",
  ]);
  expect(faults.join("\n")).not.toContain(secret);
  expect(faults.join("\n")).toContain("did you mean WEIR_PEER_ROUTER?");
});

test("secrets may come from files, not from both places", () => {
  const path = join(folder, "pepper");
  writeFileSync(path, `${"p".repeat(64)}\n`);
  expect(readSettings({ WEIR_KEY_PEPPER_FILE: path }).pepper?.toString()).toBe("p".repeat(64));
  expect(faultsOf({ WEIR_KEY_PEPPER_FILE: path, WEIR_KEY_PEPPER: "q".repeat(64) })[0]).toContain("both set");
  expect(faultsOf({ WEIR_DATABASE_URL_FILE: join(folder, "none") })[0]).toContain("cannot be read (ENOENT)");
});

test("settings survive the way through another process's environment", () => {
  const pem = join(folder, "pem");
  writeFileSync(pem, "");
  const settings = readSettings({
    WEIR_DATA_DIR: folder,
    WEIR_LISTEN: "unix:/run/x.sock",
    WEIR_PEER_POOL: "a:1,b:2",
    WEIR_NATS_URL: "nats://n:4222",
    WEIR_REDIS_URL: "rediss://:secret@r:6380/1",
    WEIR_KEY_PEPPER: "p".repeat(32),
    WEIR_TLS_CERT_FILE: pem,
    WEIR_TLS_KEY_FILE: pem,
    WEIR_TLS_CA_FILE: pem,
    WEIR_TLS_CALLERS: "edge,router",
    WEIR_TLS_TRUST_DOMAIN: "weir.test",
    WEIR_TRACE_RATIO: "0.5",
  });
  expect(readSettings(environmentOf(settings))).toEqual(settings);
  expect(withoutSettings({ ...environmentOf(settings), PATH: "/bin", WEIR_NATS_URL_FILE: "x" })).toEqual({
    PATH: "/bin",
  });
});

test("addresses are host:port or unix:/path", () => {
  for (const good of ["a:1", "10.0.0.1:9000", "[::1]:9000", "pool.weir.svc:9000", "unix:/run/x"]) {
    expect(addressFault(good), good).toBeUndefined();
  }
  for (const bad of ["a", "a:", ":1", "a:65536", "unix:x", "http://a:1"]) expect(addressFault(bad), bad).toBeDefined();
});
