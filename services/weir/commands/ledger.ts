import { Command } from "commander";
import { OperatorError } from "../operator-error.ts";
import { readSettings } from "../settings.ts";

export function ledgerCommand(): Command {
  const command = new Command("ledger").description("the ledger's database");
  command
    .command("grant-reader <name>")
    .description("let a role of the Postgres server of WEIR_DATABASE_URL read the views, and nothing else")
    .addHelpText(
      "after",
      `
The role is made when it does not exist: it may log in, reads only, and is cut off after a minute for each query.
Give it a password yourself. The user of WEIR_DATABASE_URL must own the ledger, and may need CREATEROLE.

Example:
  WEIR_DATABASE_URL=postgres://weir@db/weir weir ledger grant-reader alice`,
    )
    .action(grant);
  return command;
}

async function grant(name: string): Promise<void> {
  const { databaseUrl: url } = readSettings(process.env);
  if (url === undefined) {
    throw new OperatorError(
      "WEIR_DATABASE_URL is not set, and an embedded database has no other users; see `weir usage`",
    );
  }
  // Help texts should not wait for drivers to load.
  const [{ openDatabase, sqlState }, { grantReader, isReaderName }] = await Promise.all([
    import("@weir/metering/database"),
    import("@weir/metering/analysts"),
  ]);
  if (!isReaderName(name)) throw new OperatorError("a reader's name is of lower-case letters, digits and _");
  const database = await openDatabase({ url, connectionsMax: 1 });
  try {
    const isNew = await grantReader(database, name);
    process.stdout.write(
      isNew
        ? `${name} was made and reads the views; give it a password: alter role ${name} password '...'\n`
        : `${name} reads the views\n`,
    );
  } catch (error) {
    throw new OperatorError(
      faults[sqlState(error) ?? ""] ?? "the database does not answer; is WEIR_DATABASE_URL right?",
      {
        cause: error,
      },
    );
  } finally {
    await database.close();
  }
}

/** By SQLSTATE. */
const faults: Readonly<Record<string, string>> = {
  "42501": "the user of WEIR_DATABASE_URL may not make roles, or does not own the ledger",
  "42883": "there is no ledger in this database yet; metering makes it when it starts",
};
