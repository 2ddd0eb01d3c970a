import { Command, InvalidArgumentError } from "commander";
import { type Environment, readSettings, variables } from "../settings.ts";
import { welcomeText } from "../welcome.ts";
import { OperatorError } from "../operator-error.ts";

/** Options that stand for a variable of the environment. */
export interface SettingOptions {
  readonly port?: number;
  readonly host?: string;
  readonly config?: string;
  readonly dataDir?: string;
}

/** A bound for all steps of a stop that a configuration may make long; each step has its own. */
export const stopMsMax = 3_600_000;
const meteringStopMs = 20_000;

export function startCommand(): Command {
  return addSettingOptions(new Command("start"))
    .description("start a whole gateway; needs no other server and no key of a provider")
    .addHelpText(
      "after",
      `\nExamples:\n  weir start\n  weir start --port 0 --data-dir /var/lib/weir\n  OPENAI_API_KEY=sk-... weir start\n\n${variablesText()}`,
    )
    .action(async (options: SettingOptions) => {
      const { createLifecycle } = await import("@weir/kit/lifecycle");
      const { createLog } = await import("@weir/kit/log");
      const { startOneProcess } = await import("../one-process.ts");
      const env = environmentWith(options);
      const isUsualPort = env["WEIR_PORT"] === undefined || env["WEIR_PORT"] === "8787";
      const settings = readSettings(env, {
        logLevel: "warn",
        grpc: isUsualPort ? "127.0.0.1:8788" : "127.0.0.1:0",
      });
      const log = createLog({ service: "weir", level: settings.logLevel, destination: 2 });
      const lifecycle = createLifecycle({ log, totalTimeoutMs: stopMsMax });
      process.stdout.write(`Weir keeps its data in ${settings.dataDir}\n`);
      const gateway = await startOneProcess({
        settings,
        env,
        log,
        onLine: (line) => void process.stderr.write(`${line}\n`),
        onProgress: (text) => void process.stdout.write(`${text} ...\n`),
      }).catch((error: unknown) => {
        throw portError(error, settings.port) ?? error;
      });
      lifecycle.onStop("gateway", gateway.drainMsMax() + meteringStopMs, () => gateway.drain());
      process.stdout.write(
        welcomeText({
          url: gateway.url,
          grpc: gateway.grpc,
          key: gateway.key,
          keyPath: gateway.folder.key,
          model: gateway.model,
          providers: gateway.providers(),
          command: commandText(env),
        }),
      );
    });
}

/** How a person calls this command: through npm, or by its name. */
export function commandText(env: Environment): string {
  return env["npm_lifecycle_event"] === undefined ? "weir" : "npm run weir --";
}

export function addSettingOptions(command: Command): Command {
  return command
    .option("--port <port>", "where the edge listens; 0: any free port; default: WEIR_PORT, else 8787", portNumber)
    .option("--host <host>", "address on which the edge listens; default: WEIR_HOST, else 127.0.0.1")
    .option("--config <file>", "the file weir.yaml; default: WEIR_CONFIG, else weir.yaml in the working folder")
    .option(
      "--data-dir <folder>",
      "folder of the journal, the embedded database and secrets; default: WEIR_DATA_DIR, else .weir",
    );
}

/** The environment with options in the place of the variables that they stand for. */
export function environmentWith(options: SettingOptions, env: Environment = process.env): Environment {
  return {
    ...env,
    ...(options.port === undefined ? {} : { WEIR_PORT: String(options.port) }),
    ...(options.host === undefined ? {} : { WEIR_HOST: options.host }),
    ...(options.config === undefined ? {} : { WEIR_CONFIG: options.config }),
    ...(options.dataDir === undefined ? {} : { WEIR_DATA_DIR: options.dataDir }),
  };
}

export function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError("expected a number from 0 to 65535");
  return port;
}

/** For people, when a port cannot be opened; undefined for any other error. */
export function portError(error: unknown, port: number): OperatorError | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const taken = error instanceof Error && "port" in error ? error.port : port;
  if (code === "EADDRINUSE" && taken !== port) {
    return new OperatorError(
      `port ${String(taken)}, for gRPC, is taken; choose another with WEIR_GRPC=host:port, or off`,
      {
        cause: error,
      },
    );
  }
  if (code === "EADDRINUSE") {
    return new OperatorError(
      `port ${port} is taken; choose another with --port or WEIR_PORT, or --port 0 for any free one`,
      {
        cause: error,
      },
    );
  }
  if (code === "EACCES") {
    return new OperatorError(`port ${port} needs rights that this user does not have; choose one above 1023`, {
      cause: error,
    });
  }
  return undefined;
}

export function variablesText(): string {
  const lines = variables.map(
    ({ name, text, file }) => `  ${name.padEnd(22)} ${text}${file === true ? `; or ${name}_FILE` : ""}`,
  );
  return `Environment:\n${lines.join("\n")}\n`;
}
