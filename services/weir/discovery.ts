import { clone, create } from "@bufbuild/protobuf";
import { type Config, ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderConfigSchema, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { demoProvider, localServers, vendors } from "@weir/kit/config/vendors";
import type { Environment } from "./settings.ts";

/** A provider that weir.yaml does not name. */
export interface FoundProvider {
  readonly id: string;
  readonly kind: ProviderKind;
  readonly baseUrl: string;
  readonly apiKey: string;
  /** Models to list for callers. */
  readonly models: readonly string[];
  /** How it was found, for people: `OPENAI_API_KEY is set`. */
  readonly reason: string;
}

/** Vendors whose key is in the environment. Pure. */
export function vendorsOfEnvironment(env: Environment): FoundProvider[] {
  return vendors.flatMap(({ id, kind, baseUrl, keyVariables }) => {
    const variable = keyVariables.find((name) => env[name]?.trim());
    if (variable === undefined) return [];
    return [{ id, kind, baseUrl, apiKey: env[variable]?.trim() ?? "", models: [], reason: `${variable} is set` }];
  });
}

/**
 * Model servers that answer on this machine at their usual address.
 * @param timeoutMs for each of them; they are asked at once
 */
export async function findLocalServers(timeoutMs: number): Promise<FoundProvider[]> {
  const found = await Promise.all(
    localServers.map(async (server): Promise<FoundProvider[]> => {
      const models = await localModels(server, timeoutMs);
      if (models === undefined) return [];
      const { host } = new URL(server.baseUrl);
      return [
        { id: server.id, kind: server.kind, baseUrl: server.baseUrl, apiKey: "", models, reason: `answers at ${host}` },
      ];
    }),
  );
  return found.flat();
}

const listBytesMax = 4_194_304;
const modelsMax = 1_000;

/** Names of the models of a local server; undefined when it does not answer as that kind of server does. */
export async function localModels(
  server: Pick<(typeof localServers)[number], "id" | "modelsUrl" | "modelsKey">,
  timeoutMs: number,
): Promise<string[] | undefined> {
  try {
    const response = await fetch(server.modelsUrl, { signal: AbortSignal.timeout(timeoutMs), redirect: "error" });
    if (!response.ok || response.body === null) return undefined;
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of response.body) {
      bytes += part.length;
      if (bytes > listBytesMax) return undefined;
      parts.push(part);
    }
    const answer: unknown = JSON.parse(Buffer.concat(parts).toString());
    const list = isObject(answer) ? answer[server.modelsKey] : undefined;
    if (!Array.isArray(list)) return undefined;
    const models: string[] = [];
    for (const model of list.slice(0, modelsMax)) {
      const name: unknown = isObject(model) ? (model["name"] ?? model["id"]) : undefined;
      // Many programs answer /v1/models on port 8000: what is not vLLM must not be billed as if it were.
      if (server.id === "vllm" && !(isObject(model) && model["owned_by"] === "vllm")) return undefined;
      if (typeof name === "string" && name !== "" && name.length <= 256) models.push(name);
    }
    return models;
  } catch {
    // Nobody there, or another program: both are usual.
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** A configuration with the providers that were found, and why each of them is there. */
export interface CompleteConfig {
  readonly config: Config;
  /** By provider id, in order of preference. */
  readonly reasons: ReadonlyMap<string, string>;
}

/**
 * Adds providers that were found and that the configuration neither names nor excludes. Pure.
 * @param demoUrl base URL of the demo provider; undefined when this process has none. It is added when asked for by
 *   `discovery.demo`, or when there is no other provider, and takes the place of an empty URL of `kind: demo`.
 */
export function completeConfig(
  loaded: Config,
  found: { readonly environment: readonly FoundProvider[]; readonly local: readonly FoundProvider[] },
  demoUrl: string | undefined,
): CompleteConfig {
  const config = clone(ConfigSchema, loaded);
  const reasons = new Map<string, string>();
  for (const [id, provider] of Object.entries(config.providers)) {
    reasons.set(id, "in weir.yaml");
    // What a local provider serves is known without asking it.
    if (provider.models.length === 0) provider.models = Object.keys(provider.local?.files ?? {});
  }
  const add = (provider: FoundProvider): void => {
    if (reasons.has(provider.id)) return;
    reasons.set(provider.id, provider.reason);
    const { kind, baseUrl, apiKey, models } = provider;
    config.providers[provider.id] = create(ProviderConfigSchema, {
      kind,
      baseUrl,
      apiKey,
      models: [...models],
    });
  };
  if (config.discovery?.environment ?? true) found.environment.forEach(add);
  if (config.discovery?.local ?? true) found.local.forEach(add);
  if (demoUrl !== undefined) {
    for (const provider of Object.values(config.providers)) {
      if (provider.kind === ProviderKind.DEMO && provider.baseUrl === "") provider.baseUrl = demoUrl;
    }
    if (config.discovery?.demo ?? reasons.size === 0) {
      add({
        id: demoProvider,
        kind: ProviderKind.DEMO,
        baseUrl: demoUrl,
        apiKey: "",
        models: [demoModel],
        reason: "built in; it needs no model",
      });
    }
  }
  return { config, reasons };
}

/** The model of the demo provider. */
export const demoModel = "weir-demo";
