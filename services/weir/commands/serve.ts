import { Command, InvalidArgumentError } from "commander";
import { readSettings, type ServiceName, serviceNames } from "../settings.ts";
import {
  addSettingOptions,
  environmentWith,
  portError,
  type SettingOptions,
  stopMsMax,
  variablesText,
} from "./start.ts";

export function serveCommand(): Command {
  return addSettingOptions(new Command("serve"))
    .description("start some of the services; the others are processes of their own")
    .argument("<services>", `one or more of ${serviceNames.join(", ")}, separated by commas`, serviceSet)
    .option("--listen <address>", "where other processes call in: host:port or unix:/path; default: WEIR_LISTEN")
    .addHelpText(
      "after",
      `\nExamples:\n  WEIR_LISTEN=0.0.0.0:9000 WEIR_PEER_METERING=metering:9000 weir serve pool\n  weir serve edge,router,pool\n\n${variablesText()}`,
    )
    .action(async (set: readonly ServiceName[], options: SettingOptions & { readonly listen?: string }) => {
      const { createLifecycle } = await import("@weir/kit/lifecycle");
      const { createLog } = await import("@weir/kit/log");
      const { startServices } = await import("../compose.ts");
      const env = {
        ...environmentWith(options),
        ...(options.listen === undefined ? {} : { WEIR_LISTEN: options.listen }),
      };
      const settings = readSettings(env);
      const log = createLog({ service: set.join(","), level: settings.logLevel });
      // Stopped while it starts, it just ends: nothing is open yet.
      const lifecycle = createLifecycle({ log, totalTimeoutMs: stopMsMax });
      const running = await startServices(set, settings, { env, log }).catch((error: unknown) => {
        throw (set.includes("edge") ? portError(error, settings.port) : undefined) ?? error;
      });
      lifecycle.onStop("services", running.drainMsMax(), () => running.drain());
      process.send?.({ kind: "ready", url: running.url, address: running.address });
    });
}

function serviceSet(text: string): readonly ServiceName[] {
  const names = text.split(",").map((name) => name.trim());
  const known = (name: string): name is ServiceName => serviceNames.some((service) => service === name);
  if (!names.every(known) || new Set(names).size !== names.length) {
    throw new InvalidArgumentError(`expected some of ${serviceNames.join(", ")}, each once`);
  }
  return names;
}
