import { readFileSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { fromJson } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { type Config, ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import type { LocalConfig } from "@weir/gen/weir/config/v1/provider_pb";
import { crossCheck } from "./cross-check.ts";
import { ConfigError, type ConfigFault, pathOf } from "./fault.ts";
import { interpolate } from "./interpolate.ts";
import { joinPriceFiles } from "./price-file.ts";
import { readMessage } from "./read-message.ts";
import { usualBaseUrl } from "./vendors.ts";
import { parseYaml } from "./yaml-text.ts";

export interface LoadOptions {
  /** The file weir.yaml. Undefined: the empty configuration. */
  readonly path?: string | undefined;
  /** Where `${NAME}` comes from. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A configuration and what it was made of. */
export interface LoadedConfig {
  readonly config: Config;
  /** Absolute paths of the file and of every `file:`, `module` and price file in it. */
  readonly files: readonly string[];
}

const configBytesMax = 16_777_216;
const otherBytesMax = 4_194_304;
const validator = createValidator();

/**
 * Reads weir.yaml: YAML, then `${NAME}` and `file:` (relative to the folder of weir.yaml), then the schema, its rules and
 * what rules cannot say. Providers that are called as a vendor get that vendor's base URL when they name none.
 * @throws ConfigError with every fault at once, each with its path; without any value of the file
 */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  return (await loadConfigFiles(options)).config;
}

/** As loadConfig; says which files to watch. A ConfigError names them too. */
export async function loadConfigFiles(options: LoadOptions): Promise<LoadedConfig> {
  if (options.path === undefined) return parseConfig("", { env: options.env, readFile: refuse });
  // Small files, read before there is work or once in a long while: synchronous reads keep interpolation pure.
  const path = resolve(options.path);
  const absolute = (name: string) => resolve(dirname(path), name);
  try {
    const { config, files } = parseConfig(readText(path, configBytesMax), {
      env: options.env,
      readFile: (name) => readText(absolute(name), otherBytesMax),
      source: basename(path),
    });
    const modules = resolveModules(config, absolute);
    for (const { local } of Object.values(config.providers)) if (local !== undefined) resolveModels(local, absolute);
    const faults = modules.flatMap(({ fault }) => fault ?? []);
    const read = [...files, ...modules.map(({ file }) => file)];
    if (faults.length > 0) throw new ConfigError(basename(path), faults, read);
    return { config, files: [path, ...read.map(absolute)] };
  } catch (error) {
    if (error instanceof ConfigError)
      throw new ConfigError(error.source, error.faults, [path, ...error.files.map(absolute)]);
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    if (code === "unknown") throw error;
    throw new ConfigError(options.path, [{ path: "", text: `the file cannot be read (${code})` }], [path]);
  }
}

/** Makes the paths of plugins absolute, so that they mean the same wherever they are used. */
function resolveModules(config: Config, absolute: (name: string) => string): { file: string; fault?: ConfigFault }[] {
  return Object.entries(config.providers).flatMap(([id, provider]) => {
    if (provider.module === "") return [];
    provider.module = absolute(provider.module);
    const isFile = statSync(provider.module, { throwIfNoEntry: false })?.isFile() ?? false;
    const path = `${pathOf("providers", id)}.module`;
    return [{ file: provider.module, ...(isFile ? {} : { fault: { path, text: "there is no such file" } }) }];
  });
}

/** As for plugins; whether the files are there matters only where models are run. */
function resolveModels(local: LocalConfig, absolute: (name: string) => string): void {
  for (const [name, file] of Object.entries(local.files)) local.files[name] = absolute(file);
}

function refuse(): string {
  throw new Error("no files here");
}

/** @throws errors of the file system, and EFBIG for files that no person wrote */
function readText(path: string, bytesMax: number): string {
  if (statSync(path).size > bytesMax) throw Object.assign(new Error("too large"), { code: "EFBIG" });
  return readFileSync(path, "utf8");
}

export interface ParseOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** Name of the text, for messages. Default weir.yaml. */
  readonly source?: string;
}

/** As loadConfig, from a text. `files` are the paths of `file:` and `price_files` as written. */
export function parseConfig(text: string, options: ParseOptions): LoadedConfig {
  const source = options.source ?? "weir.yaml";
  const { value, faults: syntaxFaults } = parseYaml(text);
  if (syntaxFaults.length > 0) throw new ConfigError(source, syntaxFaults);
  const interpolated = interpolate(value ?? {}, options);
  const read = readMessage(ConfigSchema, interpolated.value);
  const faults = [...interpolated.faults, ...read.faults];
  const config = withVendorUrls(fromJson(ConfigSchema, read.json));
  const joined = joinPriceFiles(config.prices, config.priceFiles, options.readFile);
  config.prices = [...joined.prices];
  faults.push(...joined.faults);
  const files = [...interpolated.files, ...config.priceFiles];
  // A value that could not be read is missing now; that it is missing is no fault of its own.
  const known = new Set(faults.map((fault) => plainPath(fault.path)));
  const add = (fault: ConfigFault) => {
    const path = plainPath(fault.path);
    if (known.has(path) || [...known].some((other) => other.startsWith(`${path}.`) || other.startsWith(`${path}[`)))
      return;
    known.add(path);
    faults.push(fault);
  };
  // The text of a cross-check says more than the rule's, so it comes first.
  for (const { path, text: why } of crossCheck(config, options.env)) add({ path: joined.placed(path), text: why });
  const result = validator.validate(ConfigSchema, config);
  if (result.kind === "error") throw result.error;
  if (result.kind === "invalid") {
    for (const violation of result.violations) {
      const [path = ""] = violation.toString().split(`: ${violation.message} [`, 1);
      const plain = path.replaceAll(/\["([A-Za-z0-9_-]+)"\]/g, ".$1");
      add({
        path: joined.placed(plain),
        text: /_usd_per_\w+(?:\.\w+)?$/.test(plain) ? expectedUsd : violation.message,
      });
    }
  }
  if (faults.length > 0) throw new ConfigError(source, faults, files);
  return { config, files };
}

/** One spelling for a path, whichever of the two spellings of names the file uses. */
function plainPath(path: string): string {
  return path.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function withVendorUrls(config: Config): Config {
  for (const [id, provider] of Object.entries(config.providers)) {
    if (provider.baseUrl === "") provider.baseUrl = usualBaseUrl(id, provider) ?? "";
  }
  return config;
}

/** For amounts, whose rule is a pattern that says less. */
const expectedUsd = 'expected USD as decimal text, such as "2.50"; there is no other currency';
