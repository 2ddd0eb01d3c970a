import { expect, test } from "vitest";
import { ConfigError } from "./fault.ts";
import { parseConfig } from "./load.ts";

const weirYaml = `
providers: { house: { kind: openai, base_url: "http://house/v1" } }
prices:
  - { provider: house, model: small, input_usd_per_million: "1", output_usd_per_million: "2" }
price_files: [prices.yaml, more.json]
`;

const good: Record<string, string> = {
  "prices.yaml": `prices:
  - provider: house
    model: large
    effective_time: 2026-11-01
    input_usd_per_million: "2.50"
    output_usd_per_million: "10"
    audio_input_usd_per_million: "40"
    tiers: [{ service_tier: flex, input_usd_per_million: "1.25", output_usd_per_million: "5" }]
    tool_usd_per_thousand: { web_search: "10" }`,
  "more.json": `{"prices": [{"provider": "house", "model": "\${HOME}*", "source": "a letter",
    "input_usd_per_million": "1", "output_usd_per_million": "1"}]}`,
};

function load(files: Record<string, string>) {
  return parseConfig(weirYaml, {
    env: {},
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error("gone"), { code: "ENOENT" });
      return text;
    },
  });
}

function faultsOf(files: Record<string, string>): readonly string[] {
  try {
    load(files);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults.map(({ path, text }) => `${path}: ${text}`);
    throw error;
  }
  return [];
}

test("prices of files stand behind those of weir.yaml, say where they are from, and their files are watched", () => {
  const { config, files } = load(good);
  expect(config.prices.map(({ model, source }) => [model, source])).toEqual([
    ["small", ""],
    ["large", "prices.yaml"],
    ["${HOME}*", "a letter"],
  ]);
  expect(config.prices[1]).toMatchObject({
    audioInputUsdPerMillion: "40",
    tiers: [{ serviceTier: "flex", inputTokensAbove: 0, outputUsdPerMillion: "5" }],
    toolUsdPerThousand: { web_search: "10" },
  });
  expect(files).toEqual(["prices.yaml", "more.json"]);
});

test("a fault is told where it stands", () => {
  const wrong = good["more.json"]?.replace('"model"', '"modle"') ?? "";
  expect(faultsOf({ ...good, "more.json": wrong })[0]).toMatch(/^price_files\[1\]: prices\[0\]\.modle: .*model/);
  expect(faultsOf({ ...good, "prices.yaml": "prices: [" })[0]).toMatch(/^price_files\[0\]: line 1/);
  const twice = good["prices.yaml"]?.replace("large", "small").replace("    effective_time: 2026-11-01\n", "") ?? "";
  expect(faultsOf({ ...good, "prices.yaml": twice })).toEqual([
    "price_files[0]: prices[0]: says the same provider, model and time as prices[0]",
  ]);
  const dear = good["more.json"]?.replace('"1",', '"1e3",') ?? "";
  expect(faultsOf({ ...good, "more.json": dear })[0]).toMatch(
    /^price_files\[1\]: prices\[0\]\.input_usd_per_million: /,
  );
});

test("a file that is away is a fault, and comes back when it is there", () => {
  const { "more.json": _, ...one } = good;
  expect(faultsOf(one)).toEqual(["price_files[1]: the file more.json cannot be read (ENOENT)"]);
});
