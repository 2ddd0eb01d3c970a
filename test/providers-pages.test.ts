import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createChatSockets } from "@weir/edge/routes/chat-socket/chat-socket";
import { createDialectRoutes } from "@weir/edge/routes/dialects";
import { createModelRoutes } from "@weir/edge/routes/models";
import { createResponses } from "@weir/edge/routes/responses/responses";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind, ProviderKindSchema } from "@weir/gen/weir/config/v1/provider_pb";
import { parseConfig } from "@weir/kit/config/load";
import { localServers, vendors } from "@weir/kit/config/vendors";
import { codecOf } from "@weir/pool/codecs";
import { createProviderSet } from "@weir/pool/provider-set";
import { loadPlugins } from "@weir/pool/providers/plugin-load";
import { describe, expect, test } from "vitest";
import { blocksOf, textOf } from "./blocks.ts";

// What the pages say of providers is what the configuration reads and the pool does.

const folder = "docs/providers";
const pages = readdirSync(join(import.meta.dirname, "..", folder)).map((name) => `${folder}/${name}`);
const snippets = pages.flatMap((page) => blocksOf(page, "yaml").map((text, index) => ({ page, index, text })));

/** The configuration of a snippet, with a word for every variable and file that it names. */
function load(text: string) {
  const names = Array.from(text.matchAll(/\$\{(\w+)\}/g), ([, name = ""]) => name);
  const env = Object.fromEntries(names.map((name) => [name, "a-key"]));
  const readFile = (path: string) => (path.endsWith("account.json") ? serviceAccount : "a-secret\n");
  return parseConfig(text, { env, readFile }).config;
}

/** The key of a service account as Google writes it, which the configuration reads. */
const serviceAccount = JSON.stringify({
  type: "service_account",
  client_email: "weir@my-project.iam.gserviceaccount.com",
  private_key: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }),
});

/** The cells of a page's table rows whose first cell fits. */
function rowsOf(page: string, first: RegExp): string[][] {
  return textOf(page)
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter(([, cell = ""]) => first.test(cell))
    .map((cells) => cells.slice(1, -1));
}

function wordsOf(cell = ""): string[] {
  return Array.from(cell.matchAll(/`([^`]+)`/g), ([, word = ""]) => word);
}

/** What the pool makes of a configuration; modules of plugins and servers of local models are stood in for. */
function providersOf(config: Config) {
  for (const provider of Object.values(config.providers)) {
    if (provider.kind === ProviderKind.LOCAL) provider.baseUrl = "http://127.0.0.1/p/v1";
  }
  const pluginIds = Object.entries(config.providers).flatMap(([id, { module }]) => (module === "" ? [] : [id]));
  const plugin = { dialects: ["openai-chat"], path: () => "/", headers: () => ({}) };
  return createProviderSet(config, new Map(pluginIds.map((id) => [id, plugin]))).providers;
}

/** A provider of a kind, named `p`, with all that any kind demands. */
function ofKind(kind: string) {
  const local = "local: { files: { m: m.gguf } }";
  const remote = 'base_url: "https://host.example", region: eu, project: my-project, api_key: k';
  const [provider] = providersOf(load(`providers: { p: { kind: ${kind}, ${kind === "local" ? local : remote} } }`));
  return provider;
}

test.each(snippets)("snippet $index of $page is a good configuration that the pool can use", ({ text }) => {
  const config = load(text);
  expect(providersOf(config).map(({ id }) => id)).toEqual(Object.keys(config.providers));
});

test("the module that the page of plugins shows can be loaded", async () => {
  const [source = "", ...others] = blocksOf(`${folder}/plugin.md`, "ts");
  expect(others).toEqual([]);
  const directory = mkdtempSync(join(tmpdir(), "weir-pages-"));
  try {
    const module = join(directory, "provider.ts");
    writeFileSync(module, source);
    const config = load(`providers: { p: { kind: plugin, module: ${module}, base_url: "https://host.example" } }`);
    const plugins = await loadPlugins(config);
    expect(plugins.get("p")?.path("a/b", false, "openai-chat")).toBe("/deployments/a%2Fb/chat");
    expect(plugins.get("p")?.headers("k")).toEqual({ "x-vendor-key": "k" });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("each page of a kind begins with a provider of that kind and an alias", () => {
  for (const [link = ""] of rowsOf(`${folder}/README.md`, /^\[/)) {
    const [, kind = "", page = ""] = /^\[(\w+)\]\((.+)\)$/.exec(link) ?? [];
    const [first = ""] = blocksOf(`${folder}/${page}`, "yaml");
    const { providers, aliases } = load(first);
    const kinds = Object.values(providers).map((provider) => ProviderKindSchema.value[provider.kind]?.localName);
    expect(new Set(kinds)).toEqual(new Set([kind.toUpperCase()]));
    expect(Object.keys(aliases)).not.toEqual([]);
  }
});

describe("the table of kinds", () => {
  const rows = rowsOf(`${folder}/README.md`, /^\[/);

  test("has every kind but the built-in one, each with a page, and every page is in it", () => {
    const kinds = ProviderKindSchema.values.map(({ localName }) => localName.toLowerCase());
    const named = rows.map(([link = ""]) => /^\[(\w+)\]/.exec(link)?.[1]);
    expect(new Set([...named, "unspecified", "demo"])).toEqual(new Set(kinds));
    const linked = rows.map(([link = ""]) => `${folder}/${/\((.+)\)$/.exec(link)?.[1]}`);
    expect(new Set([...linked, `${folder}/README.md`])).toEqual(new Set(pages));
  });

  const built = rows.filter(([link = ""]) => !link.startsWith("[plugin]"));

  test.each(built.map(([link = "", , dialects, key]) => ({ kind: /^\[(\w+)\]/.exec(link)?.[1] ?? "", dialects, key })))(
    "says the dialects of $kind, and how its key is sent",
    ({ kind, dialects, key }) => {
      const provider = ofKind(kind);
      expect(wordsOf(dialects)).toEqual(provider?.endpoints.map(({ dialect }) => codecOf(dialect)?.name));
      const [credential] = provider?.credentials ?? [];
      const sent = credential?.kind === "header" && `${credential.name}${credential.value === "k" ? "" : ": Bearer"}`;
      expect(wordsOf(key)).toEqual(sent === false ? [] : expect.arrayContaining([sent]));
    },
  );
});

test("the table of ids says where each vendor is and which variable holds its key", () => {
  const openai = [...vendors, ...localServers].filter(({ kind }) => kind === ProviderKind.OPENAI);
  const rows = rowsOf(`${folder}/openai.md`, /^`/).map(([id, url, key]) => [
    wordsOf(id)[0],
    wordsOf(url)[0],
    wordsOf(key)[0],
  ]);
  expect(rows).toEqual(openai.map(({ id, baseUrl, keyVariables }) => [id, baseUrl, keyVariables[0]]));
});

test("the ids and kinds that work on when one hangs up are those that the page names", () => {
  const page = textOf(`${folder}/README.md`);
  const kindNames = rowsOf(`${folder}/README.md`, /^\[/).map(([link = ""]) => /^\[(\w+)\]/.exec(link)?.[1] ?? "");
  const kindsThatGoOn = kindNames.filter((kind) => {
    return kind !== "plugin" && ofKind(kind)?.stopsOnDisconnect === false;
  });
  const named = /false for the kinds ([^,]+), ([^,]+) and\s+([^,]+), and for the ids ([^:]+):/.exec(page) ?? [];
  expect(named.slice(1, 4).toSorted()).toEqual(kindsThatGoOn.toSorted());
  const ids = [...vendors, ...localServers].map(({ id }) => id);
  const goOn = ids.filter((id) => {
    const config = load(`providers: { ${id}: { kind: openai, base_url: "https://host.example" } }`);
    return createProviderSet(config).get(id)?.stopsOnDisconnect === false;
  });
  expect(wordsOf(named[4]).toSorted()).toEqual(goOn.toSorted());
});

test("the paths that the README names for clients are served", () => {
  // None of it is called.
  const deps = { chat: {}, methods: [] } as never;
  const routes = [
    ...createDialectRoutes(deps),
    ...createModelRoutes(deps),
    ...createResponses(deps).routes,
    ...createChatSockets(deps).routes,
  ];
  const served = routes.map(({ path }) => path);
  const named = rowsOf("README.md", /^(OpenAI|Anthropic|Gemini|nobody)$/).flatMap(([, paths]) => {
    const words = wordsOf(paths);
    // Where clients of Azure look is the same as before.
    return words.flatMap((word) => (word === "/openai/v1" ? words.filter((path) => path !== word).map(onAzure) : word));
  });
  expect(named).toContain("/openai/v1/chat/completions");
  expect(named.length).toBeGreaterThanOrEqual(8);
  for (const path of named) {
    // A verb alone is one of the models' path before it.
    const template = path.replace(/^:.*/, "/v1beta/models/$&").replace(/\/models\/[^:]*/, "/models/{id=**}");
    expect(served).toContain(template);
  }
});

const onAzure = (path: string) => `/openai${path}`;
