import { durationMs, type Duration } from "@bufbuild/protobuf/wkt";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import type { EdgeConfig } from "@weir/gen/weir/config/v1/edge_pb";
import { type IdentityProvider, identityProviders } from "./auth/identity-provider.ts";
import { createNetworks, type Networks } from "./auth/networks.ts";
import { type AliasLimits, aliasLimits } from "./limits/alias-limits.ts";
import { type ResponsesSettings, responsesSettings } from "./routes/responses/settings.ts";

/** Where a port is opened. */
export interface Address {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** What an operator may set at the public door. Read anew for every request, so that a change holds at once. */
export interface EdgeSettings {
  /** Largest body of a request, in bytes. */
  readonly bodyBytesMax: number;
  /** Bytes of bodies in memory at once, over all requests; more are refused with OVERLOADED. */
  readonly bodiesBytesMax: number;
  /** Requests a minute of a key that names no limit of its own. */
  readonly requestsPerMinute: number;
  /** Tokens a minute, input and output, of a key that names no limit of its own. */
  readonly tokensPerMinute: number;
  /** Requests served at once; more are refused with OVERLOADED. */
  readonly requestsMax: number;
  /** Origins that browsers may call from; `*` means any. */
  readonly corsOrigins: readonly string[];
  /** Pause after which an open stream gets a comment line as a sign of life. */
  readonly heartbeatMs: number;
  /** How long the status line of a stream is held back while no content comes. */
  readonly holdHeadersMs: number;
  /** How long a client may refuse to read before its connection is reset. */
  readonly writeStallMs: number;
  /** How long a client may pause in the middle of its body. */
  readonly bodyStallMs: number;
  /** What a client must send of its body each second, on average, beyond the first `bodyStallMs`. */
  readonly bodyBytesPerSecondMin: number;
  /** Connections that one address may have open; an address of IPv6 stands for its /64. */
  readonly connectionsPerAddressMax: number;
  /** Where `/metrics` is answered beside the public port. */
  readonly metricsAddress: Address | undefined;
  readonly responses: ResponsesSettings;
  readonly identityProviders: readonly IdentityProvider[];
  /** Proxies whose `X-Forwarded-For` is believed; undefined: none. */
  readonly trustedProxies: Networks | undefined;
  readonly aliasLimits: AliasLimits;
}

const defaults = {
  bodyBytesMax: 32 * 1024 * 1024,
  bodiesBytesMax: 512 * 1024 * 1024,
  requestsPerMinute: 10_000,
  tokensPerMinute: 10_000_000,
  requestsMax: 10_000,
  heartbeatMs: 15_000,
  holdHeadersMs: 45_000,
  writeStallMs: 60_000,
  bodyStallMs: 30_000,
  bodyBytesPerSecondMin: 1_024,
  connectionsPerAddressMax: 10_000,
} as const;

/**
 * Settings from the section `edge` of the configuration, with the defaults that its proto documents.
 * @param aliases whose limits the edge enforces
 * @throws Error when `metrics_address` is not a host and a port, a proxy's network is none, or an identity provider's URL is not safe
 */
export function edgeSettings(config?: EdgeConfig, aliases?: Config["aliases"]): EdgeSettings {
  const bodyBytesMax = config?.bodyBytesMax ?? defaults.bodyBytesMax;
  return {
    bodyBytesMax,
    bodiesBytesMax: Math.max(defaults.bodiesBytesMax, bodyBytesMax),
    requestsPerMinute: config?.requestsPerMinute ?? defaults.requestsPerMinute,
    tokensPerMinute: config?.tokensPerMinute ?? defaults.tokensPerMinute,
    requestsMax: config?.requestsMax ?? defaults.requestsMax,
    corsOrigins: config?.corsOrigins ?? [],
    heartbeatMs: milliseconds(config?.heartbeat, defaults.heartbeatMs),
    holdHeadersMs: milliseconds(config?.holdHeaders, defaults.holdHeadersMs),
    writeStallMs: milliseconds(config?.writeStall, defaults.writeStallMs),
    bodyStallMs: defaults.bodyStallMs,
    bodyBytesPerSecondMin: defaults.bodyBytesPerSecondMin,
    connectionsPerAddressMax: config?.connectionsPerAddressMax ?? defaults.connectionsPerAddressMax,
    metricsAddress: parseAddress(config?.metricsAddress ?? ""),
    responses: responsesSettings(config?.responses),
    identityProviders: identityProviders(config?.identityProviders ?? []),
    trustedProxies: networks("edge.trusted_proxies", config?.trustedProxies ?? []),
    aliasLimits: aliasLimits(aliases),
  };
}

function networks(path: string, texts: readonly string[]): Networks | undefined {
  if (texts.length === 0) return undefined;
  return createNetworks(texts, (text) => {
    throw new Error(`${path}[${texts.indexOf(text)}]: expected a network, such as 10.0.0.0/8 or 2001:db8::/32`);
  });
}

function milliseconds(duration: Duration | undefined, byDefault: number): number {
  return duration === undefined ? byDefault : durationMs(duration);
}

const addressShape = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/;

function parseAddress(text: string): Address | undefined {
  if (text === "") return undefined;
  const match = addressShape.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new Error("edge.metrics_address: expected host and port, such as 127.0.0.1:9464 or [::1]:9464");
  }
  return { host, port };
}
