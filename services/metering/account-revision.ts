import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import { sql } from "./drizzle.ts";
import { accountRevision } from "./schema.ts";

/** Takes the next revision; others who want one wait until this transaction ends. */
export async function nextRevision(queries: NodePgDatabase): Promise<bigint> {
  const rows = await queries
    .update(accountRevision)
    .set({ revision: sql`${accountRevision.revision} + 1` })
    .returning();
  const revision = rows[0]?.revision;
  if (revision === undefined) throw new Error("account_revision is empty");
  return revision;
}
