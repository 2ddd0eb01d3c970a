import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { Config, ProviderConfig } from "@weir/gen/weir/config/v1/config_pb";
import { localServers, vendors } from "@weir/kit/config/vendors";

/** How to call one provider. */
export interface ProviderSettings {
  readonly id: string;
  /** Scheme, host and port: calls to one origin share connections. */
  readonly origin: string;
  /** Path of chat completions. */
  readonly chatPath: string;
  /** Headers of every call, for undici: name, value, name, value. Holds the credential: never log it. */
  readonly headers: readonly string[];
  /** Calls at once. */
  readonly callsMax: number;
  /** Calls that may wait. */
  readonly queueMax: number;
  /** Whether work and billing stop when we hang up. */
  readonly stopsOnDisconnect: boolean;
  /** Whether `stream_options.include_usage` is known. */
  readonly streamsUsage: boolean;
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

// https://openrouter.ai/docs/features/streaming#stream-cancellation lists who stops and who does not.
const goOnAfterDisconnect: ReadonlySet<string> = new Set(["google", "groq", "mistral"]);
// Mistral refuses members that it does not know, and reports the usage of streams unasked: https://docs.mistral.ai/api/.
const streamUsageUnasked: ReadonlySet<string> = new Set(["mistral"]);

const baseUrls: ReadonlyMap<string, string> = new Map([...vendors, ...localServers].map((v) => [v.id, v.baseUrl]));

/**
 * Reads the providers of a configuration that has been checked.
 * @throws RangeError when a provider has no usable base URL
 */
export function createProviderSet(config: Config): ProviderSet {
  const providers = Object.entries(config.providers).map(([id, provider]) => readProvider(id, provider));
  const byId = new Map(providers.map((provider) => [provider.id, provider]));
  return {
    get: (id) => byId.get(id),
    providers,
    progressIntervalMs: positiveMs(config.journal?.progressInterval) ?? progressIntervalDefaultMs,
  };
}

function readProvider(id: string, config: ProviderConfig): ProviderSettings {
  const baseUrl = config.baseUrl === "" ? baseUrls.get(id) : config.baseUrl;
  const url = baseUrl !== undefined && URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
    throw new RangeError(`providers.${id}.base_url must be an http or https URL without a user`);
  }
  const headers = [
    ["content-type", "application/json"],
    ["accept", "application/json, text/event-stream"],
    // Answers go on to the client as the bytes that came.
    ["accept-encoding", "identity"],
    ["user-agent", "weir"],
    ...Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value]),
    ...(config.apiKey === "" ? [] : [["authorization", `Bearer ${config.apiKey}`]]),
  ];
  return {
    id,
    origin: url.origin,
    chatPath: `${url.pathname.replace(/\/+$/, "")}/chat/completions${url.search}`,
    // A header of the configuration takes the place of ours.
    headers: [...new Map(headers as [string, string][])].flat(),
    callsMax: config.callsMax ?? callsMaxDefault,
    queueMax: config.queueMax ?? queueMaxDefault,
    stopsOnDisconnect: config.stopsOnDisconnect ?? !goOnAfterDisconnect.has(id),
    streamsUsage: config.streamsUsage ?? !streamUsageUnasked.has(id),
  };
}

function positiveMs(duration: Duration | undefined): number | undefined {
  const ms = duration && durationMs(duration);
  return ms !== undefined && ms > 0 ? ms : undefined;
}
