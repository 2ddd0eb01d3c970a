#!/usr/bin/env node
import { Command } from "commander";
import { ConfigError } from "@weir/kit/config/fault";
import { OperatorError } from "./operator-error.ts";
import { auditCommand } from "./commands/audit.ts";
import { budgetsCommand } from "./commands/budgets.ts";
import { configCommand } from "./commands/config.ts";
import { demoCommand } from "./commands/demo.ts";
import { healthCommand } from "./commands/health.ts";
import { journalCommand } from "./commands/journal.ts";
import { keysCommand } from "./commands/keys.ts";
import { ledgerCommand } from "./commands/ledger.ts";
import { meshCommand } from "./commands/mesh.ts";
import { pricesCommand } from "./commands/prices.ts";
import { reconcileCommand } from "./commands/reconcile.ts";
import { serveCommand } from "./commands/serve.ts";
import { startCommand } from "./commands/start.ts";
import { teamsCommand } from "./commands/teams.ts";
import { tenantsCommand } from "./commands/tenants.ts";
import { usageCommand } from "./commands/usage.ts";
import { usersCommand } from "./commands/users.ts";
import { SettingsError } from "./settings.ts";
import { version } from "./version.ts";

const program = new Command("weir")
  .description("An LLM gateway with an exact ledger")
  .version(version)
  .showHelpAfterError("(add --help for what there is)")
  .addHelpText(
    "after",
    "\nExamples:\n  weir start                       a whole gateway, needs nothing else\n  weir mesh                        the services of deploy/compose.yaml as local processes\n  weir keys create --name my-app   a key for an application\n  weir usage --by day,model        what was used and what it cost",
  );
for (const command of [
  startCommand(),
  meshCommand(),
  serveCommand(),
  keysCommand(),
  tenantsCommand(),
  teamsCommand(),
  usersCommand(),
  auditCommand(),
  budgetsCommand(),
  usageCommand(),
  reconcileCommand(),
  pricesCommand(),
  ledgerCommand(),
  journalCommand(),
  configCommand(),
  healthCommand(),
  demoCommand(),
]) {
  program.addCommand(command);
}

try {
  await program.parseAsync();
} catch (error) {
  // What people can mend is told in a sentence; a stack only helps with defects of ours.
  const known = error instanceof OperatorError || error instanceof ConfigError || error instanceof SettingsError;
  const text = !(error instanceof Error) ? String(error) : known ? error.message : (error.stack ?? error.message);
  process.stderr.write(`weir: ${text}\n`);
  process.exit(process.exitCode ?? 1);
}
