import { join, resolve } from "node:path";
import { Command } from "commander";
import { readSettings } from "../settings.ts";
import { welcomeText } from "../welcome.ts";
import { addSettingOptions, commandText, environmentWith, type SettingOptions, variablesText } from "./start.ts";

const composePath = join(import.meta.dirname, "../../../deploy/compose.yaml");
const stopStepMs = 90_000;

export function meshCommand(): Command {
  return addSettingOptions(new Command("mesh"))
    .description("start the services of deploy/compose.yaml as local processes, with a real NATS and Postgres")
    .option("--compose <file>", "another compose file", composePath)
    .addHelpText(
      "after",
      `\nExamples:\n  weir mesh\n  WEIR_DATABASE_URL=postgres://weir@db/weir WEIR_NATS_URL=nats://nats:4222 weir mesh\n\n${variablesText()}`,
    )
    .action(async (options: SettingOptions & { readonly compose: string }) => {
      const { createLifecycle } = await import("@weir/kit/lifecycle");
      const { createLog } = await import("@weir/kit/log");
      const { startLocalMesh } = await import("../local-mesh.ts");
      const env = environmentWith(options);
      const settings = readSettings(env, { logLevel: "warn" });
      const log = createLog({ service: "weir", level: settings.logLevel, destination: 2 });
      const stopping = new AbortController();
      const lifecycle = createLifecycle({ log, totalTimeoutMs: stopStepMs + 10_000 });
      process.stdout.write(`Weir keeps its data in ${settings.dataDir}\n`);
      const starting = startLocalMesh({
        composePath: resolve(options.compose),
        dataDir: settings.dataDir,
        env: { WEIR_LOG_LEVEL: settings.logLevel, ...env },
        port: settings.port,
        configPath: env["WEIR_CONFIG"] === undefined ? undefined : settings.configPath,
        onLine: (name, line) => void process.stderr.write(`${name.padEnd(9)} ${line}\n`),
        onProgress: (text) => void process.stdout.write(`${text}\n`),
        signal: stopping.signal,
      });
      lifecycle.onStop("mesh", stopStepMs, async () => {
        stopping.abort();
        await (await starting).stop();
      });
      const mesh = await starting;
      process.stdout.write(
        welcomeText({
          url: mesh.url,
          grpc: undefined,
          key: mesh.key,
          keyPath: mesh.folder.key,
          model: mesh.model,
          providers: new Map([["mesh", `as ${options.compose} and its weir.yaml say`]]),
          command: commandText(env),
        }),
      );
    });
}
