import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ProviderKind, ProviderKindSchema } from "@weir/gen/weir/config/v1/config_pb";
import { parseConfig } from "@weir/kit/config/load";
import { localServers, vendors } from "@weir/kit/config/vendors";
import { codecOf } from "@weir/pool/codecs";
import { createProviderSet } from "@weir/pool/provider-set";
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
  return parseConfig(text, { env, readFile: () => "a-secret\n" }).config;
}

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

test.each(snippets)("snippet $index of $page is a good configuration that the pool can use", ({ text }) => {
  const config = load(text);
  expect(createProviderSet(config).providers.map(({ id }) => id)).toEqual(Object.keys(config.providers));
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

  test.each(rows.map(([link = "", , dialects, key]) => ({ kind: /^\[(\w+)\]/.exec(link)?.[1] ?? "", dialects, key })))(
    "says the dialects of $kind, and how its key is sent",
    ({ kind, dialects, key }) => {
      const [provider] = createProviderSet(
        load(
          `providers: { p: { kind: ${kind}, base_url: "https://host.example", region: eu, project: my-project, api_key: k } }`,
        ),
      ).providers;
      expect(wordsOf(dialects)).toEqual(provider?.endpoints.map(({ dialect }) => codecOf(dialect)?.name));
      const [credential] = provider?.credentials ?? [];
      const sent = credential?.kind === "header" && `${credential.name}${credential.value === "k" ? "" : ": Bearer"}`;
      expect(wordsOf(key)).toContain(sent);
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

test("the ids that work on when one hangs up are those that the page names", () => {
  const ids = [...vendors, ...localServers].map(({ id }) => id);
  const named = textOf(`${folder}/README.md`).match(/false for the ids ([^:]+):/)?.[1];
  const goOn = ids.filter((id) => {
    const config = load(`providers: { ${id}: { kind: openai, base_url: "https://host.example" } }`);
    return createProviderSet(config).get(id)?.stopsOnDisconnect === false;
  });
  expect(wordsOf(named).toSorted()).toEqual(goOn.toSorted());
});
