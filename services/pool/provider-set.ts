import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { ProviderError } from "@weir/dialect/codec";
import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { type CapabilityTable, createCapabilityTable } from "@weir/kit/config/capabilities";
import { usualBaseUrl } from "@weir/kit/config/vendors";
import { type Limit, limitsOf } from "@weir/kit/limits/limit";
import { dialectOfName } from "./codecs.ts";
import type { BatchSettings } from "./embeddings/batches.ts";
import { type EmbeddingRoutes, embeddingRoutesOf } from "./embeddings/routes.ts";
import { type Credential, credentialsOf } from "./providers/credentials.ts";
import { type PassthroughPath, passthroughPathOf } from "./passthrough/path.ts";
import { type Endpoint, endpointsOf } from "./providers/endpoints.ts";
import type { Plugins, ProviderPlugin } from "./providers/plugin.ts";
import { pluginCredentials, pluginEndpoints, pluginStatus } from "./providers/plugin-use.ts";

/** How to call one provider. */
export interface ProviderSettings {
  readonly id: string;
  /** Scheme, host and port: calls to one origin share connections. */
  readonly origin: string;
  /** The dialects that it speaks, the one for translated requests first; at least one. */
  readonly endpoints: readonly Endpoint[];
  readonly embeddings: EmbeddingRoutes;
  /** Undefined: the provider has no endpoints of OpenAI's that could be passed through to. */
  readonly passthroughPath?: PassthroughPath | undefined;
  readonly embeddingBatch: BatchSettings;
  /** Headers of every call, for undici: name, value, name, value. May hold secrets: never log them. */
  readonly headers: readonly string[];
  /** At least one. */
  readonly credentials: readonly Credential[];
  /** Calls at once. */
  readonly callsMax: number;
  /** Calls that may wait. */
  readonly queueMax: number;
  /** What the provider allows in a minute, in a day and at once; beyond it calls go to other targets. */
  readonly limits: readonly Limit[];
  /** Whether work and billing stop when we hang up. */
  readonly stopsOnDisconnect: boolean;
  /** Whether `stream_options.include_usage` is known. */
  readonly streamsUsage: boolean;
  /** Whether the limit of chat completions is `max_tokens`, the older name, which most vendors know alone. */
  readonly usesMaxTokens: boolean;
  /** Output limit for dialects that demand one. */
  readonly maxOutputTokensDefault: number;
  /** Version of the API as the configuration names it; empty: the kind's default. */
  readonly apiVersion: string;
  readonly capabilities: CapabilityTable;
  /** The status that an answer with an error stands for, where a plugin says so. Never throws. */
  readonly statusFor?: (status: number, error: ProviderError | undefined) => number | undefined;
}

/** The providers of one configuration. Immutable; a reload makes a new one. */
export interface ProviderSet {
  get(id: string): ProviderSettings | undefined;
  readonly providers: readonly ProviderSettings[];
  /** How often a long stream records how far it came, in milliseconds. */
  readonly progressIntervalMs: number;
}

const callsMaxDefault = 1_024;
const queueMaxDefault = 1_024;
const progressIntervalDefaultMs = 1_000;
const outputTokensDefault = 4_096;

// https://openrouter.ai/docs/features/streaming#stream-cancellation lists who stops and who does not.
const goOnAfterDisconnect: ReadonlySet<string> = new Set(["google", "groq", "mistral"]);
const kindsThatGoOn: ReadonlySet<ProviderKind> = new Set([
  ProviderKind.GEMINI,
  ProviderKind.VERTEX,
  ProviderKind.BEDROCK,
]);
// Mistral refuses members that it does not know, and reports the usage of streams unasked: https://docs.mistral.ai/api/.
const streamUsageUnasked: ReadonlySet<string> = new Set(["mistral"]);

/**
 * Reads the providers of a configuration that has been checked.
 * @param plugins by provider id: a module for each provider of kind plugin
 * @throws RangeError when a provider has no usable base URL, names a dialect that its kind has no way for, is without its plugin, or has
 *   `credentials` that are none
 */
export function createProviderSet(config: Config, plugins: Plugins = noPlugins): ProviderSet {
  const providers = Object.entries(config.providers).map(([id, provider]) =>
    readProvider(id, provider, plugins.get(id)),
  );
  const byId = new Map(providers.map((provider) => [provider.id, provider]));
  return {
    get: (id) => byId.get(id),
    providers,
    progressIntervalMs: positiveMs(config.journal?.progressInterval) ?? progressIntervalDefaultMs,
  };
}

const noPlugins: Plugins = new Map();

function readProvider(id: string, config: ProviderConfig, plugin: ProviderPlugin | undefined): ProviderSettings {
  if (config.kind === ProviderKind.PLUGIN && plugin === undefined) {
    throw new RangeError(`providers.${id}.module is not loaded`);
  }
  const baseUrl = config.baseUrl === "" ? usualBaseUrl(id, config) : config.baseUrl;
  const url = baseUrl !== undefined && URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
    throw new RangeError(`providers.${id}.base_url must be an http or https URL without a user`);
  }
  const headers = [
    ["content-type", "application/json"],
    ["accept", accept],
    // Answers go on to the client as the bytes that came.
    ["accept-encoding", "identity"],
    ["user-agent", "weir"],
    ...Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value]),
  ];
  const base = url.pathname.replace(/\/+$/, "");
  return {
    id,
    origin: url.origin,
    endpoints: (plugin === undefined
      ? endpointsOf(id, config, base, config.dialects.flatMap(dialectsOf))
      : pluginEndpoints(plugin, base)
    ).map((endpoint) => withQuery(endpoint, url.search)),
    embeddings: plugin === undefined ? embeddingRoutesOf(config, base, url.search) : () => undefined,
    embeddingBatch: readBatch(config),
    passthroughPath: passthroughPathOf(config, base, url.search),
    // A header of the configuration takes the place of ours.
    headers: [...new Map(headers as [string, string][])].flat(),
    credentials: plugin === undefined ? credentialsOf(id, config) : pluginCredentials(plugin, config),
    callsMax: config.callsMax ?? callsMaxDefault,
    queueMax: config.queueMax ?? queueMaxDefault,
    limits: config.limits === undefined ? [] : limitsOf("provider", id, config.limits),
    stopsOnDisconnect: config.stopsOnDisconnect ?? !(goOnAfterDisconnect.has(id) || kindsThatGoOn.has(config.kind)),
    streamsUsage: config.streamsUsage ?? !streamUsageUnasked.has(id),
    usesMaxTokens: config.usesMaxTokens ?? !(id === "openai" || config.kind === ProviderKind.AZURE),
    maxOutputTokensDefault: config.maxOutputTokensDefault ?? outputTokensDefault,
    apiVersion: config.apiVersion,
    capabilities: createCapabilityTable(url.origin, config.capabilities),
    ...(plugin?.judge === undefined ? {} : { statusFor: pluginStatus(plugin) }),
  };
}

/** A model on one's own machine gains by larger calls, and nobody bills for its tokens. */
const ollamaBatchWaitMs = 2;

function readBatch({ kind, embeddingBatch }: ProviderConfig): BatchSettings {
  const waitMs = kind === ProviderKind.OLLAMA ? ollamaBatchWaitMs : 0;
  return {
    waitMs: embeddingBatch?.wait === undefined ? waitMs : durationMs(embeddingBatch.wait),
    inputsMax: embeddingBatch?.inputsMax ?? 128,
    bytesMax: embeddingBatch?.bytesMax ?? 256 * 1024,
  };
}

const accept = "application/json, text/event-stream, application/x-ndjson, application/vnd.amazon.eventstream";

function dialectsOf(name: string): Dialect[] {
  const dialect = dialectOfName(name);
  return dialect === undefined ? [] : [dialect];
}

/** A query of the base URL goes with every call. */
function withQuery(endpoint: Endpoint, search: string): Endpoint {
  if (search === "") return endpoint;
  return {
    ...endpoint,
    path(model, stream) {
      const plain = endpoint.path(model, stream);
      return plain.includes("?") ? `${plain}&${search.slice(1)}` : plain + search;
    },
  };
}

function positiveMs(duration: Duration | undefined): number | undefined {
  const ms = duration && durationMs(duration);
  return ms !== undefined && ms > 0 ? ms : undefined;
}
