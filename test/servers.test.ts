import { connect } from "nats";
import pg from "pg";
import { expect, test, vi } from "vitest";
import { createDatabase, ServerMissing, startNats, startPostgres, startRedis } from "./servers.ts";

test("Postgres serves, gives each test its database, and is gone after stop", async () => {
  vi.stubEnv("WEIR_TEST_POSTGRES_URL", undefined);
  const server = await startPostgres();
  const first = await createDatabase(server.url);
  const second = await createDatabase(server.url);
  const client = new pg.Client(first.url);
  await client.connect();
  await client.query("CREATE TABLE rows (id int)");
  await client.end();
  const other = new pg.Client(second.url);
  await other.connect();
  await expect(other.query("SELECT * FROM rows")).rejects.toThrow(/does not exist/);
  await other.end();
  await first.drop();
  await expect(new pg.Client(first.url).connect()).rejects.toThrow(/does not exist/);
  await server.stop();
  await expect(new pg.Client(server.url).connect()).rejects.toThrow(/ECONNREFUSED/);
  expect(server.description).toMatch(/^Postgres \d+/);
  vi.unstubAllEnvs();
}, 60_000);

test("NATS serves, with JetStream", async () => {
  vi.stubEnv("WEIR_TEST_NATS_URL", undefined);
  const server = await startNats();
  const connection = await connect({ servers: server.url });
  expect(connection.info?.jetstream).toBe(true);
  await connection.close();
  await server.stop();
  await expect(connect({ servers: server.url, timeout: 500, reconnect: false })).rejects.toThrow(/refused/i);
  vi.unstubAllEnvs();
});

test("a program that is nowhere is named, with the way to get it", async () => {
  vi.stubEnv("PATH", "/nonexistent");
  vi.stubEnv("WEIR_TEST_REDIS_URL", undefined);
  const getuid = vi.spyOn(process, "getuid").mockReturnValue(1000);
  const outcome = await startRedis().then(
    async (server) => {
      // Found in a folder that is always looked into.
      await server.stop();
      return server.description;
    },
    (error: unknown) => error,
  );
  if (outcome instanceof ServerMissing) expect(outcome.message).toMatch(/redis-server[^]*WEIR_TEST_REDIS_URL/);
  else expect(outcome).toMatch(/^Redis/);
  getuid.mockRestore();
  vi.unstubAllEnvs();
});
