import { statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { isObject } from "@weir/dialect/json";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { ConfigError, type ConfigFault, pathOf } from "@weir/kit/config/fault";
import { dialectOfName } from "../codecs.ts";
import type { Plugins, ProviderPlugin } from "./plugin.ts";

/** Headers of Weir's own, and those that frame the message. */
const reservedHeaders: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "connection",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "user-agent",
  "x-client-request-id",
]);

/** Something about a module that cannot be used; its text holds no value of the module's. */
class PluginFault extends Error {
  override readonly name = "PluginFault";
}

/**
 * Loads the modules of all plugins, anew when a file has changed since it was last loaded. What a module imports in its turn is not looked at.
 * @param config with absolute paths of modules
 * @throws ConfigError with a fault for each module that cannot be used
 */
export async function loadPlugins(config: Config): Promise<Plugins> {
  const plugins = new Map<string, ProviderPlugin>();
  const faults: ConfigFault[] = [];
  const causes: unknown[] = [];
  for (const [id, provider] of Object.entries(config.providers)) {
    if (provider.kind !== ProviderKind.PLUGIN) continue;
    try {
      plugins.set(id, await loadPlugin(provider));
    } catch (thrown) {
      causes.push(thrown);
      faults.push({ path: `${pathOf("providers", id)}.module`, text: describe(thrown) });
    }
  }
  if (faults.length === 0) return plugins;
  throw Object.assign(new ConfigError("weir.yaml", faults), { cause: new AggregateError(causes) });
}

async function loadPlugin(config: ProviderConfig): Promise<ProviderPlugin> {
  const { mtimeNs, size } = statSync(config.module, { bigint: true });
  const url = pathToFileURL(config.module);
  // The runtime keeps what it has loaded by its address; another address is another module.
  url.searchParams.set("version", `${mtimeNs}-${size}`);
  const loaded: unknown = await import(url.href);
  const provider = isObject(loaded) ? loaded["provider"] : undefined;
  checkPlugin(provider);
  checkUse(provider, config);
  return provider;
}

function checkPlugin(plugin: unknown): asserts plugin is ProviderPlugin {
  if (!isObject(plugin)) throw new PluginFault("exports no `provider`");
  const { dialects = [], codec } = plugin;
  if (!Array.isArray(dialects) || !dialects.every((name) => typeof name === "string" && dialectOfName(name))) {
    throw new PluginFault("`provider.dialects` is no list of names of dialects, such as openai-chat");
  }
  if (codec === undefined && dialects.length === 0) {
    throw new PluginFault("`provider` has neither `dialects` nor a `codec`");
  }
  if (codec !== undefined) checkCodec(codec);
  for (const name of ["path", "headers"]) {
    if (typeof plugin[name] !== "function") throw new PluginFault(`\`provider.${name}\` is no function`);
  }
  if (plugin["judge"] !== undefined && typeof plugin["judge"] !== "function") {
    throw new PluginFault("`provider.judge` is no function");
  }
}

function checkCodec(codec: unknown): void {
  if (!isObject(codec)) throw new PluginFault("`provider.codec` is no codec");
  if (typeof codec["name"] !== "string" || codec["name"] === "") throw new PluginFault("`provider.codec` has no name");
  if (!["sse", "ndjson", "aws-event-stream"].includes(String(codec["framing"]))) {
    throw new PluginFault("`provider.codec.framing` is none of sse, ndjson, aws-event-stream");
  }
  for (const name of ["writeRequest", "readAnswer", "createFrameReader", "readError"]) {
    if (typeof codec[name] !== "function") throw new PluginFault(`\`provider.codec.${name}\` is no function`);
  }
}

/** Tries what can be tried without a call. */
function checkUse(plugin: ProviderPlugin, { apiKey, apiKeys }: ProviderConfig): void {
  for (const name of [...(plugin.dialects ?? []), ...(plugin.codec === undefined ? [] : [plugin.codec.name])]) {
    for (const stream of [false, true]) {
      const path: unknown = plugin.path("model", stream, name);
      if (typeof path !== "string" || !/^\/[!-~]*$/.test(path)) {
        throw new PluginFault("`provider.path` gives no path; it begins with `/` and is percent-encoded");
      }
    }
  }
  for (const key of apiKey === "" && apiKeys.length === 0 ? [undefined] : [apiKey, ...apiKeys]) {
    if (key !== "") checkHeaders(plugin.headers(key));
  }
}

function checkHeaders(headers: unknown): void {
  if (!isObject(headers)) throw new PluginFault("`provider.headers` gives no headers");
  for (const [name, value] of Object.entries(headers)) {
    // https://www.rfc-editor.org/rfc/rfc9110#section-5.5
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || typeof value !== "string" || !/^[\t\x20-\x7e]*$/.test(value)) {
      throw new PluginFault("`provider.headers` gives a name or a value that a header cannot have");
    }
    if (reservedHeaders.has(name.toLowerCase())) {
      throw new PluginFault(`\`provider.headers\` gives ${name.toLowerCase()}, which Weir sets itself`);
    }
  }
}

/** Without the words of the module: they may hold a key, and /health shows this. */
function describe(thrown: unknown): string {
  if (thrown instanceof PluginFault) return thrown.message;
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;
  return `cannot be loaded (${code ?? (thrown instanceof Error ? thrown.name : "it threw")}); the log says more`;
}
