import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { migrate } from "./migrate.ts";
import { openTestDatabase } from "./testing.ts";

const folder = join(import.meta.dirname, "migrations");

test.each(["embedded", "postgres"] as const)(
  "%s: an upgrade makes the operator's first key an owner's, and every other key a member's",
  async (engine) => {
    const db = await openTestDatabase(engine);
    await db.query(
      "create table schema_migrations (name text primary key, checksum text not null, apply_time timestamptz)",
    );
    const before = readdirSync(folder).filter((name) => name.endsWith(".sql") && name < "0013");
    for (const name of before.toSorted()) {
      const text = readFileSync(join(folder, name), "utf8");
      await db.query(text);
      await db.query("insert into schema_migrations values ($1, $2)", [
        name,
        createHash("sha256").update(text).digest("hex"),
      ]);
    }
    const add = (letter: string, tenant: string, name: string, day: number, more = "null") =>
      db.query(
        `insert into keys (key_id, tenant_id, digest, display_name, scope, create_time, revision, revoke_time)
         values ($1::text, $2, sha256($1::text::bytea), $3, '{}', $4, $5, ${more})`,
        [letter.repeat(16), tenant, name, new Date(Date.UTC(2026, 0, day)), day],
      );
    await db.query("insert into tenants (tenant_id, display_name) values ('acme', '')");
    await add("a", "acme", "first key", 1);
    await add("b", "default", "first key", 2, "now()");
    await add("c", "default", "first key", 3);
    await add("d", "default", "first key", 4);
    await add("e", "default", "ci", 5);
    await db.query("update account_revision set revision = 5");

    expect((await migrate(db.database)).applied).toContain("0013_identity.sql");
    const keys = await db.query("select left(key_id, 1) as key, role, every_tenant, revision from keys order by 1");
    const member = { role: "member", every_tenant: false };
    expect(keys).toMatchObject([
      { key: "a", ...member },
      { key: "b", ...member },
      // Edges that follow from the revision before hear of it.
      { key: "c", role: "owner", every_tenant: true, revision: "6" },
      { key: "d", ...member },
      { key: "e", ...member },
    ]);
    await db.end();
  },
);
