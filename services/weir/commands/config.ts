import { Command } from "commander";
import { readSettings } from "../settings.ts";
import { OperatorError } from "../operator-error.ts";

export function configCommand(): Command {
  const command = new Command("config").description("the file weir.yaml");
  command
    .command("check")
    .description("check weir.yaml and the environment, without starting anything")
    .argument("[file]", "default: WEIR_CONFIG, else weir.yaml in the working folder")
    .addHelpText("after", "\nExample:\n  weir config check deploy/config/weir.yaml")
    .action(async (file: string | undefined) => {
      const { loadConfigFiles } = await import("@weir/kit/config/load");
      const { completeConfig, vendorsOfEnvironment } = await import("../discovery.ts");
      const path = file ?? readSettings(process.env).configPath;
      if (path === undefined) throw new OperatorError("there is no weir.yaml here; name a file, or set WEIR_CONFIG");
      const { config } = await loadConfigFiles({ path, env: process.env });
      const found = { environment: vendorsOfEnvironment(process.env), local: [] };
      const { reasons } = completeConfig(config, found, undefined);
      const aliases = Object.keys(config.aliases).length;
      process.stdout.write(`${path} is good: ${aliases} aliases, ${config.prices.length} prices; providers:\n`);
      for (const [id, reason] of reasons) process.stdout.write(`  ${id}  ${reason}\n`);
      if (reasons.size === 0) process.stdout.write("  none\n");
    });
  return command;
}
