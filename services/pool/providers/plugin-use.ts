import type { ProviderError } from "@weir/dialect/codec";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { ProviderConfig } from "@weir/gen/weir/config/v1/provider_pb";
import { dialectOfName } from "../codecs.ts";
import type { Credential } from "./credentials.ts";
import type { Endpoint } from "./endpoints.ts";
import type { ProviderPlugin } from "./plugin.ts";

/**
 * The ways to call a plugin's provider, the one for translated requests first.
 * @param base path of the base URL, without a slash at its end
 */
export function pluginEndpoints(plugin: ProviderPlugin, base: string): Endpoint[] {
  const { codec, dialects = [] } = plugin;
  const pathIn = (name: string) => (model: string, stream: boolean) => base + plugin.path(model, stream, name);
  const own = codec === undefined ? [] : [{ dialect: Dialect.UNSPECIFIED, codec, path: pathIn(codec.name) }];
  const spoken = dialects.flatMap((name) => {
    const dialect = dialectOfName(name);
    return dialect === undefined ? [] : [{ dialect, path: pathIn(name) }];
  });
  return [...own, ...spoken];
}

/** All credentials of a plugin's provider; at least one. */
export function pluginCredentials(plugin: ProviderPlugin, { apiKey, apiKeys }: ProviderConfig): readonly Credential[] {
  const keys = [...new Set([apiKey, ...apiKeys])].filter((key) => key !== "");
  return (keys.length === 0 ? [undefined] : keys).map((key) => ({
    kind: "headers",
    headers: Object.entries(plugin.headers(key)).flatMap(([name, value]) => [name.toLowerCase(), value]),
  }));
}

/** The plugin's judgement; when it throws, or gives what is no status, none. */
export function pluginStatus(plugin: ProviderPlugin) {
  return (status: number, error: ProviderError | undefined): number | undefined => {
    try {
      const judged = plugin.judge?.(status, error);
      return judged !== undefined && Number.isInteger(judged) && judged >= 400 && judged <= 599 ? judged : undefined;
    } catch {
      return undefined; // the answer must be settled all the same
    }
  };
}
