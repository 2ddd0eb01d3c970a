import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "./fault.ts";
import { loadConfig, loadConfigFiles, parseConfig } from "./load.ts";
import { messageBytesMaxDefault } from "../serving.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-config-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const noFiles = () => {
  throw Object.assign(new Error("no files"), { code: "ENOENT" });
};

function parse(text: string, env: Record<string, string> = {}) {
  return parseConfig(text, { env, readFile: noFiles }).config;
}

function faultsOf(text: string, env: Record<string, string> = {}): string[] {
  try {
    parse(text, env);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults.map((fault) => `${fault.path}: ${fault.text}`);
    throw error;
  }
  return [];
}

test("reads every section, in both spellings of names", () => {
  const config = parse(
    `
edge: {body_bytes_max: 2048, corsOrigins: ["*"], heartbeat: 1500ms, hold_headers: 1m}
providers:
  local: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "\${KEY}", calls_max: "\${CALLS}"}
  other: {kind: PROVIDER_KIND_OPENAI, base_url: "https://example.com/v1", stops_on_disconnect: false}
aliases:
  gpt-4.1: {targets: [{provider: local, model: big}, {provider: other}], allow_unpriced: true, timeouts: {idle: 5s}}
prices:
  - {provider: local, model: "big*", input_usd_per_million: "2.50", output_usd_per_million: "10", effective_time: 2026-01-01}
router: {attempts_max: 2}
journal: {sync_interval: 0, bytes_max: 2097152}
discovery: {demo: false}
`,
    { KEY: "sk-1", CALLS: "7" },
  );
  expect(config.edge?.bodyBytesMax).toBe(2048);
  expect(config.edge?.corsOrigins).toEqual(["*"]);
  expect(config.edge?.heartbeat && durationMs(config.edge.heartbeat)).toBe(1500);
  expect(config.edge?.holdHeaders && durationMs(config.edge.holdHeaders)).toBe(60_000);
  expect(config.providers["local"]).toMatchObject({ kind: ProviderKind.OPENAI, apiKey: "sk-1", callsMax: 7 });
  expect(config.providers["other"]?.stopsOnDisconnect).toBe(false);
  expect(config.aliases["gpt-4.1"]?.targets.map((target) => target.provider)).toEqual(["local", "other"]);
  expect(config.aliases["gpt-4.1"]?.allowUnpriced).toBe(true);
  expect(config.prices[0]?.effectiveTime && timestampMs(config.prices[0].effectiveTime)).toBe(Date.UTC(2026, 0, 1));
  expect(config.journal?.bytesMax).toBe(2_097_152n);
  expect(config.journal?.syncInterval && durationMs(config.journal.syncInterval)).toBe(0);
  expect(config.discovery?.demo).toBe(false);
});

test("an empty text is the empty configuration", () => {
  expect(parse("").providers).toEqual({});
  expect(parse("edge:\n").edge).toBeUndefined();
});

test("a vendor's provider needs no base URL", () => {
  expect(parse("providers: {openai: {kind: openai}}").providers["openai"]?.baseUrl).toBe("https://api.openai.com/v1");
});

test("a body that no message of the mesh can carry is not promised", () => {
  expect(parse("edge: {body_bytes_max: 62914560}").edge?.bodyBytesMax).toBe(62_914_560);
  expect(62_914_560).toBeLessThan(messageBytesMaxDefault - 1_048_576);
  expect(faultsOf("edge: {body_bytes_max: 62914561}")).toHaveLength(1);
});

test("tells all faults at once, each with its path", () => {
  const faults = faultsOf(`
edge: {body_bytes_maxx: 1, requests_max: many, heartbeat: 10}
providers:
  a: {kind: opnai, base_url: "https://x/v1", api_key: "\${MISSING}"}
  b: {kind: openai}
aliases:
  gpt-4o: {targets: [{provider: aa, model: x}]}
  gpt-4.1: {targets: []}
prices:
  - {provider: a, model: m, input_usd_per_million: 2.5, output_usd_per_million: "x"}
router: {timeouts: {connect: 0s}}
routr: {}
`);
  expect(faults).toEqual([
    "providers.a.api_key: the environment variable MISSING is not set",
    "edge.body_bytes_maxx: no such name here; did you mean body_bytes_max?",
    "edge.requests_max: expected a whole number from 0 to 4294967295",
    "edge.heartbeat: expected a time with its unit: 250ms, 10s, 5m, 1h; at most 3650d",
    "providers.a.kind: expected one of openai, demo, anthropic, azure, gemini, vertex, bedrock, ollama, plugin, local",
    "prices[0].input_usd_per_million: expected text, not a number; put it in quotes",
    "routr: no such name here; did you mean router?",
    "providers.b.base_url: missing; the URL up to and with the version: https://host/v1",
    "aliases.gpt-4o.targets[0].provider: no such provider; known: a, b, demo, ollama, vllm",
    'aliases["gpt-4.1"].targets: must contain at least 1 item(s)',
    'prices[0].output_usd_per_million: expected USD as decimal text, such as "2.50"; there is no other currency',
    "router.timeouts.connect: must be greater than 0s",
  ]);
});

test("an alias of a vendor without a key says which variable to set", () => {
  const text = "aliases: {gpt-4o: {targets: [{provider: openai}]}}";
  expect(faultsOf(text)).toEqual([
    "aliases.gpt-4o.targets[0].provider: no such provider; set OPENAI_API_KEY in the environment, or add providers.openai",
  ]);
  expect(faultsOf(text, { OPENAI_API_KEY: "k" })).toEqual([]);
  expect(faultsOf(`discovery: {environment: false}\n${text}`, { OPENAI_API_KEY: "k" })).toHaveLength(1);
});

test("refuses what one field's rule cannot see", () => {
  expect(
    faultsOf(`
edge: {cors_origins: ["example.com"], metrics_address: nine}
providers:
  a: {kind: openai, base_url: "https://user@x/v1", headers: {Authorization: x, "bad name": y}}
  Bad: {kind: openai, base_url: "https://x/v1"}
aliases: {"a*b": {targets: [{provider: a}]}}
prices:
  - {provider: a, model: m, input_usd_per_million: "1", output_usd_per_million: "1"}
  - {provider: a, model: m, input_usd_per_million: "2", output_usd_per_million: "1"}
`),
  ).toEqual([
    "providers.a.base_url: expected no user, query or fragment; the key goes into api_key",
    "providers.a.headers.Authorization: Weir sets this header itself",
    'providers.a.headers["bad name"]: is no name of a header',
    'aliases["a*b"]: a `*` may only stand at the end',
    "prices[1]: says the same provider, model and time as prices[0]",
    "edge.cors_origins[0]: expected `*` or an origin such as https://app.example.com",
    "edge.metrics_address: expected host:port",
    "providers.Bad: does not match regex pattern `^[a-z][a-z0-9-]{0,62}$`",
  ]);
});

test("no fault shows a value of the file or of the environment", () => {
  const secret = "sk-canary-4711";
  const texts = [
    `providers: {a: {kind: "${secret}", api_key: [${secret}], base_url: "${secret}"}}`,
    `providers: {a: {kind: openai, base_url: "https://${secret}@x/v1", api_key: "${secret}\\n"}}`,
    `edge: {heartbeat: "\${K}", requests_max: "\${K}", metrics_address: "\${K}"}\nprices: [{model: "\${K}*a"}]`,
    `api_key: ${secret}: "unclosed`,
    `a: &x ${secret}\nb: *y`,
    `a: "${secret}`,
    `? [${secret}]\n: {`,
  ];
  for (const text of texts) {
    const faults = faultsOf(text, { K: secret });
    expect(faults).not.toEqual([]);
    expect(faults.join("\n")).not.toContain(secret);
  }
});

test("bad YAML is told by line and column; alias bombs and repeated names are refused", () => {
  expect(faultsOf("edge: {\n  heartbeat: [")[0]).toMatch(/^: line \d+, column \d+: not valid YAML/);
  expect(faultsOf("edge: {}\nedge: {}")[0]).toContain("DUPLICATE_KEY");
  const bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"];
  for (let level = 1; level < 9; level++) {
    const [name, before] = [String.fromCodePoint(97 + level), String.fromCodePoint(96 + level)];
    bomb.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(", ")}]`);
  }
  expect(faultsOf(bomb.join("\n"))).toEqual([": an alias (`*name`) has no anchor, or there are too many of them"]);
});

test("any text either is a configuration or fails with a ConfigError", () => {
  const word = fc.constantFrom(
    "edge",
    "providers",
    "aliases",
    "prices",
    "__proto__",
    "a",
    "heartbeat",
    "9999999d",
    "*",
    "${A}",
  );
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      word,
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("node"), { maxLength: 3 }),
      fc.dictionary(word, tie("node"), { maxKeys: 4 }),
    ),
  })).node;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        tree.map((value) => JSON.stringify(value)),
      ),
      (text) => {
        expect(() => faultsOf(text, { A: "1" })).not.toThrow();
      },
    ),
    { numRuns: 500 },
  );
});

test("reads files that the configuration names, relative to it, and says which", async () => {
  const path = join(folder, "weir.yaml");
  writeFileSync(join(folder, "key"), "sk-from-file\n");
  writeFileSync(path, 'providers: {a: {kind: openai, base_url: "https://x/v1", api_key: "file:key"}}');
  const loaded = await loadConfigFiles({ path, env: {} });
  expect(loaded.config.providers["a"]?.apiKey).toBe("sk-from-file");
  expect(loaded.files).toEqual([path, join(folder, "key")]);
  rmSync(join(folder, "key"));
  await expect(loadConfig({ path, env: {} })).rejects.toThrow(
    "weir.yaml cannot be used:\n  providers.a.api_key: the file key cannot be read (ENOENT)",
  );
  await expect(loadConfig({ path: join(folder, "none.yaml"), env: {} })).rejects.toThrow("cannot be read (ENOENT)");
  expect((await loadConfig({ env: {} })).aliases).toEqual({});
});

test("capabilities are named by model, with a star at the end at most", () => {
  const provider = (capabilities: string) =>
    `providers: { p: { kind: openai, base_url: "https://h/v1", capabilities: ${capabilities} } }`;
  const { providers } = parse(provider(`{ "a-*": { images: false, context_tokens: 8192 }, "*": { streaming: true } }`));
  expect(providers["p"]?.capabilities).toMatchObject({
    "a-*": { images: false, contextTokens: 8_192 },
    "*": { streaming: true },
  });
  expect(faultsOf(provider(`{ "*-a": {} }`))).toEqual([
    'providers.p.capabilities["*-a"]: a `*` may only stand at the end',
  ]);
  expect(faultsOf(provider("{ a: { pictures: false } }"))).toHaveLength(1);
});

test("model files of local providers are found beside weir.yaml, and have no address and no key", async () => {
  const path = join(folder, "weir.yaml");
  writeFileSync(path, "providers: {house: {kind: local, local: {files: {tiny: ./models/tiny.gguf}}}}");
  const { providers } = await loadConfig({ path, env: {} });
  expect(providers["house"]?.local?.files).toEqual({ tiny: join(folder, "models/tiny.gguf") });

  const faults = faultsOf(`
providers:
  a: {kind: local}
  b: {kind: local, base_url: "http://b/v1", api_key: k, dialects: [openai-chat], local: {files: {m: m.gguf}}}
  c: {kind: openai, base_url: "http://c/v1", local: {files: {m: m.gguf}}}
  d: {kind: local, local: {files: {}}}
`);
  const text = "is not for `kind: local`, whose models run in this process";
  expect(faults).toEqual([
    "providers.a.local: missing; the model files: { files: { NAME: ./model.gguf } }",
    `providers.b.base_url: ${text}`,
    `providers.b.api_key: ${text}`,
    `providers.b.dialects: ${text}`,
    "providers.c.local: is for `kind: local`",
    "providers.d.local.files: map must be at least 1 entries",
  ]);
});
