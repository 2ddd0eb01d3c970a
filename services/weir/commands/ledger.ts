import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import { OperatorError } from "../operator-error.ts";
import { readSettings } from "../settings.ts";
import { renderTable } from "../table.ts";
import { wholeNumber } from "./account-options.ts";
import { addressText, callTimeoutMs, withGateway } from "./gateway.ts";
import { rerateCommand } from "./rerate.ts";

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
  command
    .command("conflicts")
    .description("usage events that could not be written to the ledger, the newest first")
    .option("--limit <number>", "at most so many, up to 1000", wholeNumber, 100)
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      `
content: the attempt stands in the ledger with other content; sqlstate 23514: its month was retired; otherwise the field at
fault. The events themselves are in the table conflicts, and nothing of them counts.

Example:
  weir ledger conflicts --limit 20`,
    )
    .action(listConflicts);
  command.addCommand(rerateCommand());
  return command;
}

async function listConflicts(chosen: { limit: number; address?: string }): Promise<void> {
  const { conflicts } = await withGateway(chosen.address, ({ usage }) =>
    usage.listConflicts({ rowCountMax: Math.min(chosen.limit, 1_000) }, { timeoutMs: callTimeoutMs }),
  );
  if (conflicts.length === 0) {
    process.stdout.write("there are none: every usage event that came is in the ledger\n");
    return;
  }
  process.stdout.write(
    renderTable(conflicts, [
      { title: "came", text: ({ receiveTime }) => (receiveTime ? timestampDate(receiveTime).toISOString() : "") },
      { title: "reason", text: ({ reason }) => reason },
      { title: "attempt", text: ({ attemptId }) => attemptId },
      { title: "in the ledger", text: ({ standsInLedger }) => (standsInLedger ? "yes" : "no") },
      { title: "journal", text: ({ journalId, sequence }) => (journalId === "" ? "" : `${journalId} ${sequence}`) },
      { title: "bytes", text: ({ payloadBytes }) => String(payloadBytes), align: "right" },
    ]),
  );
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
    const state = sqlState(error);
    const otherwise =
      state === undefined
        ? "the database does not answer; is WEIR_DATABASE_URL right?"
        : `the database refused it (SQLSTATE ${state})`;
    throw new OperatorError(faults[state ?? ""] ?? otherwise, { cause: error });
  } finally {
    await database.close();
  }
}

/** By SQLSTATE. */
const faults: Readonly<Record<string, string>> = {
  "28000": "the server does not let in the user of WEIR_DATABASE_URL",
  "28P01": "the server does not take the password of WEIR_DATABASE_URL",
  "3D000": "the server has no database of the name in WEIR_DATABASE_URL",
  "42501": "the user of WEIR_DATABASE_URL may not make roles, or does not own the ledger",
  "42883": "there is no ledger in this database yet; metering makes it when it starts",
};
