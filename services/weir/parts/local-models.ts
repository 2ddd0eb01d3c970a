import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { clone, create } from "@bufbuild/protobuf";
import { type Config, ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import {
  CapabilitiesConfigSchema,
  type LocalConfig,
  LocalConfigSchema,
  ProviderKind,
} from "@weir/gen/weir/config/v1/provider_pb";
import type { Clock } from "@weir/kit/clock";
import { ConfigError, pathOf } from "@weir/kit/config/fault";
import type { Log } from "@weir/kit/log";
import type { ModelServer, StartModelServer } from "@weir/kit/model-server";

export interface LocalModelsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Loads what runs models. Default: services/local, which is installed apart. */
  readonly load?: () => Promise<StartModelServer>;
}

/** The models of this process, for configurations that have any: without one, nothing is loaded. */
export interface LocalModels {
  /**
   * Makes ready for a configuration.
   * @returns the configuration with addresses and a key for its local providers, and what puts their models into force
   * @throws ConfigError when models cannot be run here, or a file cannot be used
   */
  prepare(config: Config): Promise<{ readonly config: Config; commit(): void }>;
  /** Cancels what runs and gives the memory back. */
  close(): Promise<void>;
}

export function createLocalModels({ clock, log, load = loadModelServer }: LocalModelsOptions): LocalModels {
  let starting: Promise<ModelServer> | undefined;

  async function start(id: string): Promise<ModelServer> {
    try {
      const startModelServer = await load();
      return await startModelServer({ clock, log });
    } catch (cause) {
      starting = undefined;
      const missing = cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND";
      const text = missing
        ? "local models are not installed; `npm run local:install` installs what they need"
        : "llama.cpp cannot be loaded on this machine; the log says more";
      throw Object.assign(new ConfigError("weir.yaml", [{ path: `${pathOf("providers", id)}.kind`, text }]), { cause });
    }
  }

  return {
    async prepare(config) {
      const wanted = localProviders(config);
      const [first] = wanted.keys();
      if (first === undefined && starting === undefined) return { config, commit() {} };
      const server = await (starting ??= start(first ?? ""));
      const commit = await server.prepare(wanted);
      return { config: reachable(config, server), commit };
    },
    async close() {
      // A start that failed was told to whoever asked for the models.
      const server = await starting?.catch(() => undefined);
      await server?.close();
    },
  };
}

function localProviders({ providers }: Config): ReadonlyMap<string, LocalConfig> {
  const locals = Object.entries(providers).filter(([, { kind }]) => kind === ProviderKind.LOCAL);
  return new Map(locals.map(([id, { local }]) => [id, local ?? create(LocalConfigSchema)]));
}

/** What no local model can do: requests that need it go to the next target before anything is sent. */
const incapable = { tools: false, images: false, audio: false, files: false };

/** A configuration whose local providers are called where the server listens. */
function reachable(config: Config, server: ModelServer): Config {
  const copy = clone(ConfigSchema, config);
  for (const [id, provider] of Object.entries(copy.providers)) {
    if (provider.kind !== ProviderKind.LOCAL) continue;
    provider.baseUrl = server.baseUrl(id);
    provider.apiKey = server.token;
    provider.capabilities = {
      "*": create(CapabilitiesConfigSchema, incapable),
      ...provider.capabilities,
    };
  }
  return copy;
}

/** It stands outside npm's workspaces, so that it has no name to import it by; and it may not be there. */
const entry = pathToFileURL(join(import.meta.dirname, "../../local/start.ts"));

async function loadModelServer(): Promise<StartModelServer> {
  const { startModelServer } = (await import(entry.href)) as { readonly startModelServer: StartModelServer };
  return startModelServer;
}
