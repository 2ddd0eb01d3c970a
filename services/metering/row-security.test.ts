import { randomUUID } from "node:crypto";
import { createPriceList } from "@weir/price/price";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createDatabase, startPostgres } from "../../test/servers.ts";
import { type Database, openDatabase } from "./database.ts";
import { migrate } from "./migrate.ts";
import { meteringOn, openTestDatabase, type TestDatabase, testBatch, testEventCost, testPrice } from "./testing.ts";

/** Tables whose rows name a tenant, and the column that does. */
const owned = {
  tenants: "tenant_id",
  teams: "tenant_id",
  users: "tenant_id",
  keys: "tenant_id",
  audit_records: "tenant_id",
  responses: "tenant",
  response_items: "tenant",
  budgets: "scope ->> 'tenant'",
  attempts: "tenant",
  retired_costs: "tenant",
} as const;

/** A row of every one of them. */
function fill(tenant: string): string {
  const id = (length: number) => tenant.repeat(length).slice(0, length);
  return `
    insert into tenants (tenant_id, display_name) values ('${tenant}', '');
    insert into teams (team_id, tenant_id, display_name, revision) values ('${tenant}.a', '${tenant}', '', 1);
    insert into users (user_id, tenant_id, display_name, email, role, revision)
      values ('${tenant}.a', '${tenant}', '', '', 'member', 1);
    insert into keys (key_id, tenant_id, digest, display_name, scope, revision)
      values ('${id(16)}', '${tenant}', sha256('${tenant}'), '', '{}', hashtext('${tenant}'));
    insert into audit_records (audit_record_id, time, tenant_id, actor_kind, actor_key, actor_user, actor_role, actor_tenant,
        action, resource, request_id)
      values ('${randomUUID()}', now(), '${tenant}', 'operator', '', '', 'owner', '', 'keys.create', '', '');
    insert into responses (tenant, response_id, key, background, state, input, response, expire_time)
      values ('${tenant}', 'r', '', false, 'completed', '', '', now() + interval '1 hour');
    insert into response_items (tenant, item_id, response_id) values ('${tenant}', 'i', 'r');
    insert into budgets (budget_id, display_name, scope, limit_nano_usd, window_kind, soft_percents, revision)
      values ('${tenant}', '', '{"tenant": "${tenant}"}', 1, 'month', '[]', hashtext('${tenant}'));
    insert into attempts (attempt_id, request_id, tenant, key, end_user, alias, provider, model, stream, outcome, usage_source,
        usage_inconsistent, price_id, pricing, start_time, end_time, provider_status, provider_reply_id, content_digest)
      values ('${randomUUID()}', '', '${tenant}', '', '', '', '', '', false, 'completed', 'reported', false, '', 'unpriced',
        now(), now(), 200, '', '');
    insert into retired_costs (day, tenant, key, alias, provider, model, attempts, requests, input_tokens, cached_input_tokens,
        output_tokens, reasoning_tokens, cost_nano_usd, charge_nano_usd, estimated_attempts, unpriced_attempts)
      values ('2020-01-01', '${tenant}', '', '', '', '', 1, 1, 1, 1, 1, 1, 1, 1, 0, 0);`;
}

/** Whose rows a query without a condition finds, table by table. */
async function seen(query: (text: string) => Promise<{ rows: unknown[] }>): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const [table, column] of Object.entries(owned)) {
    const { rows } = await query(`select distinct ${column} as tenant from ${table} order by 1`);
    found[table] = (rows as { tenant: string }[]).map(({ tenant }) => tenant);
  }
  return found;
}

const everywhere = (tenants: readonly string[]) =>
  Object.fromEntries(Object.keys(owned).map((table) => [table, tenants]));

/** A database of a login that is no superuser, on a server where it may make roles or not. */
async function openPlain(mayMakeRoles: boolean): Promise<TestDatabase> {
  const server = await startPostgres();
  const { url, drop } = await createDatabase(server.url);
  const admin = new pg.Pool({ connectionString: url, max: 1 });
  admin.on("error", () => undefined);
  const login = `plain_${randomUUID().slice(0, 8)}`;
  const name = new URL(url).pathname.slice(1);
  await admin.query(`create role ${login} login nosuperuser ${mayMakeRoles ? "createrole" : "nocreaterole"}`);
  await admin.query(`alter database ${name} owner to ${login}; alter schema public owner to ${login}`);
  const plainUrl = new URL(url);
  plainUrl.username = login;
  const place = { url: plainUrl.href, connectionsMax: 2 };
  const database = await openDatabase(place);
  return {
    place,
    database,
    query: async (text, values) => (await admin.query<Record<string, unknown>>(text, values)).rows,
    async end() {
      await database.close();
      await admin.end();
      await drop();
      const cleaner = new pg.Client({ connectionString: server.url });
      await cleaner.connect();
      await cleaner.query(`drop role ${login}`);
      await cleaner.end();
      await server.stop();
    },
  };
}

const places = {
  embedded: () => openTestDatabase("embedded"),
  "a server, as superuser": () => openTestDatabase("postgres"),
  "a server, as a login that may make roles": () => openPlain(true),
  "a server, as a login that may make none": () => openPlain(false),
};

describe.each(Object.entries(places))("%s", (place, open) => {
  let db: TestDatabase;
  let database: Database;
  const asRuntime = !place.endsWith("none");
  beforeAll(async () => {
    db = await open();
    database = db.database;
    await migrate(database);
    await database.asOwner(async (client) => {
      await client.query("delete from tenants");
      await client.query(fill("acme") + fill("zeta"));
    });
  });
  afterAll(() => db.end());

  test("a query that forgets its condition finds the rows of its own tenant", async () => {
    // One after another, so that connections of the pool have served another tenant before.
    for (const tenant of ["acme", "zeta", "acme"]) {
      await database.of(tenant).transaction(async (client) => {
        expect(await seen((text) => client.query(text))).toEqual(everywhere([tenant]));
      });
    }
    await database.transaction(async (client) => {
      expect(await seen((text) => client.query(text))).toEqual(everywhere(["acme", "zeta"]));
    });
  });

  test("two tenants at once on one pool do not see each other", async () => {
    const look = (tenant: string) =>
      database.of(tenant).transaction(async (client) => {
        expect(await seen((text) => client.query(text))).toEqual(everywhere([tenant]));
      });
    await Promise.all(Array.from({ length: 20 }, (_, index) => look(index % 2 === 0 ? "acme" : "zeta")));
  });

  test("for a tenant that is not told, or not there, no table has rows", async () => {
    for (const tenant of ["", "*"]) expect(() => database.of(tenant)).toThrow(RangeError);
    for (const tenant of ["nobody", "' or true --"]) {
      await database.of(tenant).transaction(async (client) => {
        expect(await seen((text) => client.query(text)), tenant).toEqual(everywhere([]));
      });
    }
    if (asRuntime) {
      await database.asOwner(async (client) => {
        await client.query("commit; begin; set local role weir_runtime");
        expect(await seen((text) => client.query(text))).toEqual(everywhere([]));
      });
    }
  });

  test("a change that forgets its condition changes rows of its own tenant, and none can be moved or made for another", async () => {
    const acme = database.of("acme");
    await acme.transaction(async (client) => {
      expect((await client.query("update keys set display_name = 'changed'")).rowCount).toBe(1);
      expect((await client.query("delete from responses")).rowCount).toBe(1);
    });
    const others = () =>
      database.transaction(
        async (client) =>
          (
            await client.query(
              "select (select display_name from keys where tenant_id = 'zeta'), (select count(*) from responses) as count",
            )
          ).rows,
      );
    expect(await others()).toEqual([{ display_name: "", count: "1" }]);
    for (const change of [
      "update teams set tenant_id = 'zeta'",
      "insert into teams (team_id, tenant_id, display_name, revision) values ('zeta.b', 'zeta', '', 2)",
      "insert into tenants (tenant_id, display_name) values ('third', '')",
    ]) {
      await expect(
        acme.transaction((client) => client.query(change)),
        change,
      ).rejects.toMatchObject({ cause: { code: "42501" } });
    }
  });

  test("audit records are neither changed nor deleted, by nobody", async () => {
    for (const change of ["update audit_records set action = 'x'", "delete from audit_records"]) {
      for (const run of [database.transaction, database.asOwner]) {
        await expect(
          run((client) => client.query(change)),
          change,
        ).rejects.toMatchObject({ cause: { code: "42501" } });
      }
    }
    await expect(database.asOwner((client) => client.query("truncate audit_records"))).rejects.toMatchObject({
      cause: { code: "42501" },
    });
    await expect(db.query("truncate audit_records")).rejects.toBeDefined();
    expect((await db.query("select count(*) from audit_records"))[0]).toEqual({ count: "2" });
  });

  test.runIf(asRuntime)("the gateway works as a role that owns nothing and passes by no policy", async () => {
    const { rows } = await database.transaction((client) =>
      client.query(
        `select current_user::text as name, rolsuper, rolbypassrls, rolcanlogin,
           (select count(*) from pg_class where relowner = r.oid) as owned
         from pg_roles r where rolname = current_user`,
      ),
    );
    expect(rows).toEqual([
      { name: "weir_runtime", rolsuper: false, rolbypassrls: false, rolcanlogin: false, owned: "0" },
    ]);
    for (const forbidden of [
      "select from attempts_default",
      "select from schema_migrations",
      "select from cost_by_day",
      "create table mine (x int)",
      "alter table keys disable row level security",
    ]) {
      await expect(
        database.transaction((client) => client.query(forbidden)),
        forbidden,
      ).rejects.toMatchObject({ cause: { code: "42501" } });
    }
  });

  test("views are whole for whoever owns them, and sets no tenant", async () => {
    const { rows } = await database.asOwner(async (client) => {
      await client.query("set local weir.tenant = ''");
      return client.query("select distinct tenant from cost_by_tenant order by 1");
    });
    expect(rows).toEqual([{ tenant: "acme" }, { tenant: "zeta" }]);
  });

  test("every table that names a tenant has its rows secured, by force", async () => {
    const open = await db.query(
      `select distinct relname from pg_class c join pg_attribute a on a.attrelid = c.oid
       where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
         and attname in ('tenant', 'tenant_id') and not (relrowsecurity and relforcerowsecurity)`,
    );
    expect(open).toEqual([]);
  });

  test("the ledger is written as before", async () => {
    const metering = meteringOn(database);
    await metering.prepare(createPriceList([testPrice]));
    await metering.recorder.record([testBatch(1, 3)]);
    const { rows } = await database
      .of("default")
      .transaction((client) => client.query("select count(*), sum(cost_nano_usd) from attempts"));
    expect(rows).toEqual([{ count: "3", sum: String(3n * testEventCost) }]);
  });
});
