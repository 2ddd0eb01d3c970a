import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { type ConfigFault, pathOf } from "./fault.ts";
import { nearestName } from "./nearest.ts";
import { isTokenUrl, readServiceAccount } from "./service-account.ts";
import { demoProvider, localServers, vendors } from "./vendors.ts";

/** Headers that Weir sets itself, or that frame the message. */
const reservedHeaders = new Set([
  "authorization",
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
  // Credentials of the kinds.
  "api-key",
  "x-amz-date",
  "x-amz-security-token",
  "x-api-key",
  "x-client-request-id",
  "x-goog-api-key",
]);

/** What the rules of single fields cannot say: names that must exist elsewhere, pairs that exclude each other. Pure. */
export function crossCheck(config: Config, env: Readonly<Record<string, string | undefined>>): ConfigFault[] {
  return [
    ...providerFaults(config),
    ...aliasFaults(config, env),
    ...passthroughFaults(config),
    ...priceFaults(config),
    ...edgeFaults(config),
  ];
}

function passthroughFaults({ passthrough, providers }: Config): ConfigFault[] {
  return Object.entries(passthrough)
    .filter(([, provider]) => providers[provider] === undefined)
    .map(([endpoint, provider]) => ({
      path: pathOf("passthrough", endpoint),
      text: `names the provider ${JSON.stringify(provider)}, which is not configured`,
    }));
}

function providerFaults(config: Config): ConfigFault[] {
  const faults: ConfigFault[] = [];
  for (const [id, provider] of Object.entries(config.providers)) {
    const path = pathOf("providers", id);
    if (provider.kind === ProviderKind.UNSPECIFIED) {
      faults.push({ path: `${path}.kind`, text: "missing; `openai` for anything with OpenAI's chat completions" });
    }
    if (provider.baseUrl === "" && !kindsWithoutUrl.has(provider.kind)) {
      faults.push(missingUrl(path, provider.kind));
    }
    faults.push(...moduleFaults(path, provider), ...localFaults(path, provider));
    faults.push(...accountFaults(path, provider));
    if (provider.kind === ProviderKind.BEDROCK && provider.aws !== undefined && provider.region === "") {
      faults.push({ path: `${path}.region`, text: "missing; calls are signed for one region, such as eu-central-1" });
    }
    for (const [index, key] of provider.apiKeys.entries()) {
      if (key === "" || !isHeaderValue(key)) {
        faults.push({
          path: `${path}.api_keys[${index}]`,
          text: "is empty or has characters that a header cannot carry",
        });
      }
    }
    if (provider.baseUrl !== "") {
      const url = URL.canParse(provider.baseUrl) ? new URL(provider.baseUrl) : undefined;
      if (url !== undefined && url.protocol !== "https:" && url.protocol !== "http:") {
        faults.push({ path: `${path}.base_url`, text: "expected a URL that begins with https:// or http://" });
      }
      if (url !== undefined && (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")) {
        faults.push({
          path: `${path}.base_url`,
          text: "expected no user, query or fragment; the key goes into api_key",
        });
      }
    }
    if (!isHeaderValue(provider.apiKey)) {
      faults.push({ path: `${path}.api_key`, text: "has characters that a header cannot carry" });
    }
    for (const [name, value] of Object.entries(provider.headers)) {
      const header = pathOf(`${path}.headers`, name);
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) faults.push({ path: header, text: "is no name of a header" });
      if (reservedHeaders.has(name.toLowerCase())) faults.push({ path: header, text: "Weir sets this header itself" });
      if (!isHeaderValue(value)) faults.push({ path: header, text: "has characters that a header cannot carry" });
    }
    for (const model of Object.keys(provider.capabilities)) {
      if (model.slice(0, -1).includes("*")) {
        faults.push({ path: pathOf(`${path}.capabilities`, model), text: "a `*` may only stand at the end" });
      }
    }
  }
  return faults;
}

/** A module is for one kind, and that kind says by it what `dialects` says for the others. */
function moduleFaults(path: string, { kind, module, dialects }: ProviderConfig): ConfigFault[] {
  const isPlugin = kind === ProviderKind.PLUGIN;
  if (!isPlugin) return module === "" ? [] : [{ path: `${path}.module`, text: "is for `kind: plugin`" }];
  const faults: ConfigFault[] = [];
  if (module === "") faults.push({ path: `${path}.module`, text: "missing; a file such as ./my-provider.ts" });
  else if (!/\.m?[jt]s$/.test(module) || /^[A-Za-z][A-Za-z0-9+.-]+:/.test(module)) {
    faults.push({
      path: `${path}.module`,
      text: "expected a file of this machine that ends in .ts, .mts, .js or .mjs",
    });
  }
  if (dialects.length > 0) faults.push({ path: `${path}.dialects`, text: "the module says them" });
  return faults;
}

/** A service account is for one kind, and the only credential of its provider. */
function accountFaults(path: string, provider: ProviderConfig): ConfigFault[] {
  const { kind, credentials, tokenUrl, project, apiKey, apiKeys } = provider;
  const faults: ConfigFault[] = [];
  if (tokenUrl !== "" && !isTokenUrl(tokenUrl)) {
    faults.push({ path: `${path}.token_url`, text: "expected a URL that begins with https://, without a user" });
  }
  if (credentials === "") {
    if (tokenUrl !== "") faults.push({ path: `${path}.token_url`, text: "is for `credentials`" });
    return faults;
  }
  if (kind !== ProviderKind.VERTEX) {
    return [...faults, { path: `${path}.credentials`, text: "is for `kind: vertex`" }];
  }
  const account = readServiceAccount(credentials);
  if (typeof account === "string") faults.push({ path: `${path}.credentials`, text: account });
  if (project === "") faults.push({ path: `${path}.project`, text: "missing; the project to call with `credentials`" });
  if (apiKey !== "" || apiKeys.length > 0) {
    faults.push({ path: `${path}.credentials`, text: "stands beside a key; leave one of them out" });
  }
  return faults;
}

/** Models of this process have no address and no key, and speak what their server speaks. */
function localFaults(path: string, provider: ProviderConfig): ConfigFault[] {
  const { kind, local, baseUrl, apiKey, apiKeys, dialects } = provider;
  if (kind !== ProviderKind.LOCAL)
    return local === undefined ? [] : [{ path: `${path}.local`, text: "is for `kind: local`" }];
  const faults: ConfigFault[] = [];
  if (local === undefined) {
    faults.push({ path: `${path}.local`, text: "missing; the model files: { files: { NAME: ./model.gguf } }" });
  }
  const text = "is not for `kind: local`, whose models run in this process";
  if (baseUrl !== "") faults.push({ path: `${path}.base_url`, text });
  if (apiKey !== "" || apiKeys.length > 0) faults.push({ path: `${path}.api_key`, text });
  if (dialects.length > 0) faults.push({ path: `${path}.dialects`, text });
  return faults;
}

/** Kinds that are reached where Weir itself serves them; and none, which is a fault of its own. */
const kindsWithoutUrl: ReadonlySet<ProviderKind> = new Set([
  ProviderKind.UNSPECIFIED,
  ProviderKind.DEMO,
  ProviderKind.LOCAL,
]);

function missingUrl(path: string, kind: ProviderKind): ConfigFault {
  switch (kind) {
    case ProviderKind.BEDROCK:
      return { path: `${path}.region`, text: "missing; the region to call, such as eu-central-1" };
    case ProviderKind.AZURE:
      return { path: `${path}.base_url`, text: "missing; the resource: https://NAME.openai.azure.com" };
    default:
      return { path: `${path}.base_url`, text: "missing; the URL up to and with the version: https://host/v1" };
  }
}

/** https://www.rfc-editor.org/rfc/rfc9110#section-5.5, without obs-text and without spaces around it. */
function isHeaderValue(value: string): boolean {
  return /^[\t\x20-\x7e]*$/.test(value) && value.trim() === value;
}

function aliasFaults(config: Config, env: Readonly<Record<string, string | undefined>>): ConfigFault[] {
  const faults: ConfigFault[] = [];
  const named = Object.keys(config.providers);
  const found = new Set([...named, demoProvider]);
  const fromKeys = config.discovery?.environment ?? true;
  const fromMachine = config.discovery?.local ?? true;
  if (fromMachine) for (const { id } of localServers) found.add(id);
  if (fromKeys) {
    for (const { id, keyVariables } of vendors) if (keyVariables.some((name) => env[name])) found.add(id);
  }
  for (const [alias, { targets }] of Object.entries(config.aliases)) {
    const path = pathOf("aliases", alias);
    const star = alias.indexOf("*");
    if (star !== -1 && star !== alias.length - 1) faults.push({ path, text: "a `*` may only stand at the end" });
    for (const [index, { provider }] of targets.entries()) {
      if (provider === "" || found.has(provider)) continue;
      const vendor = vendors.find(({ id }) => id === provider);
      const near = nearestName(provider, found);
      const fix =
        vendor !== undefined && fromKeys
          ? `set ${vendor.keyVariables[0] ?? ""} in the environment, or add providers.${vendor.id}`
          : near !== undefined
            ? `did you mean ${near}?`
            : `known: ${[...found].toSorted().join(", ")}`;
      faults.push({ path: `${path}.targets[${index}].provider`, text: `no such provider; ${fix}` });
    }
  }
  return faults;
}

function priceFaults(config: Config): ConfigFault[] {
  const faults: ConfigFault[] = [];
  const known = [...Object.keys(config.providers), ...[...vendors, ...localServers].map(({ id }) => id), demoProvider];
  const seen = new Map<string, number>();
  for (const [index, { provider, model, effectiveTime }] of config.prices.entries()) {
    const path = `prices[${index}]`;
    if (provider !== "" && !known.includes(provider)) {
      const near = nearestName(provider, known);
      faults.push({ path: `${path}.provider`, text: `no such provider; ${near ? `did you mean ${near}?` : "add it"}` });
    }
    const star = model.indexOf("*");
    if (star !== -1 && star !== model.length - 1) {
      faults.push({ path: `${path}.model`, text: "a `*` may only stand at the end" });
    }
    const key = JSON.stringify([provider, model, String(effectiveTime?.seconds), effectiveTime?.nanos]);
    const first = seen.get(key);
    if (first !== undefined) faults.push({ path, text: `says the same provider, model and time as prices[${first}]` });
    else seen.set(key, index);
  }
  return faults;
}

function edgeFaults(config: Config): ConfigFault[] {
  const faults: ConfigFault[] = [];
  for (const [index, origin] of (config.edge?.corsOrigins ?? []).entries()) {
    if (origin === "*" || (URL.canParse(origin) && new URL(origin).origin === origin)) continue;
    faults.push({
      path: `edge.cors_origins[${index}]`,
      text: "expected `*` or an origin such as https://app.example.com",
    });
  }
  const address = config.edge?.metricsAddress ?? "";
  if (address !== "" && !/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(address)) {
    faults.push({ path: "edge.metrics_address", text: "expected host:port" });
  }
  return faults;
}
