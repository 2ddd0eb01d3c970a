import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "@weir/kit/config/fault";
import { afterEach, beforeEach, expect, test } from "vitest";
import { addToPriceFile, type ImportChoice, makePriceFile, planImport, pricesInForce } from "./price-import.ts";

let folder: string;
let configPath: string;
const at = (name: string) => join(folder, name);
const anything: ImportChoice = { provider: undefined, as: undefined, effectiveTime: undefined };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-prices-"));
  configPath = at("weir.yaml");
  writeFileSync(
    configPath,
    `providers: { house: { kind: openai, base_url: "http://house/v1" } }
price_files: [prices.yaml]
`,
  );
  makePriceFile(at("prices.yaml"));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function take(file: string, choice: Partial<ImportChoice> = {}) {
  const planned = planImport(at(file), { ...anything, ...choice }, await pricesInForce(configPath));
  const drafts = planned.flatMap(({ kind, draft }) => (kind === "same" ? [] : [draft]));
  await addToPriceFile(configPath, at("prices.yaml"), drafts);
  return planned.map(({ kind }) => kind);
}

const find = async (day: string) =>
  (await pricesInForce(configPath)).find({ provider: "house", model: "large" }, Date.parse(day));

test("a list is in force once it is added, and adding it again changes nothing", async () => {
  writeFileSync(
    at("list.csv"),
    `provider,model,effective_time,input_usd_per_million,output_usd_per_million,service_tier
house,large,2026-11-01,2.50,10,
house,large,2026-11-01,1.25,5,flex
`,
  );
  expect(await take("list.csv")).toEqual(["new"]);
  expect(await find("2026-11-02")).toMatchObject({
    id: "house/large@2026-11-01",
    tiers: [{ serviceTier: "flex", nanoUsdPerMillion: { input: 1_250_000_000n } }],
    source: "list.csv",
  });
  const text = readFileSync(at("prices.yaml"), "utf8");
  expect(text).toMatch(/^# Written by/);
  expect(await take("list.csv")).toEqual(["same"]);
  expect(readFileSync(at("prices.yaml"), "utf8")).toBe(text);
});

test.each<[string, string, string]>([
  [
    "a column",
    "list.csv",
    "provider,model,currency,input_usd_per_million,output_usd_per_million\nhouse,large,EUR,2,8\n",
  ],
  ["a list", "list.yaml", "currency: EUR\nprices: [{ provider: house, model: large, input_usd_per_million: '2' }]\n"],
  ["an entry", "list.yaml", "prices: [{ provider: house, model: large, currency: EUR, input_usd_per_million: '2' }]\n"],
  ["LiteLLM's", "list.json", '{"large":{"litellm_provider":"house","currency":"CNY","input_cost_per_token":2e-6}}'],
])("another currency than USD is refused: of %s", async (_, name, text) => {
  writeFileSync(at(name), text);
  await expect(take(name)).rejects.toThrow(`${name} cannot be used: amounts are USD`);
  expect(readFileSync(at("prices.yaml"), "utf8")).toContain("prices: []");
});

test("other rates follow from a later day, and are refused from the same one", async () => {
  const list = (usd: string) =>
    JSON.stringify({
      prices: [{ provider: "house", model: "large", input_usd_per_million: usd, output_usd_per_million: "10" }],
    });
  writeFileSync(at("a.json"), list("1"));
  writeFileSync(at("b.json"), list("2"));
  expect(await take("a.json", { effectiveTime: "2026-11-01" })).toEqual(["new"]);
  const plans = async (day: string) =>
    planImport(at("b.json"), { ...anything, effectiveTime: day }, await pricesInForce(configPath));
  expect(await plans("2026-11-01")).toMatchObject([{ kind: "refused", standing: { id: "house/large@2026-11-01" } }]);
  expect(await take("b.json", { effectiveTime: "2026-12-01" })).toEqual(["later"]);
  expect((await find("2026-11-30"))?.nanoUsdPerMillion.input).toBe(1_000_000_000n);
  expect((await find("2026-12-01"))?.nanoUsdPerMillion.input).toBe(2_000_000_000n);
});

test("LiteLLM's list is taken for one provider, under the id that it has here", async () => {
  const entry = { input_cost_per_token: 2.5e-6, output_cost_per_token: 1e-5 };
  writeFileSync(
    at("models.json"),
    JSON.stringify({
      "acme/large": { litellm_provider: "acme", ...entry },
      x: { litellm_provider: "other", ...entry },
    }),
  );
  expect(await take("models.json", { provider: "acme", as: "house", effectiveTime: "2026-11-01" })).toEqual(["new"]);
  expect((await find("2026-11-02"))?.nanoUsdPerMillion).toMatchObject({
    input: 2_500_000_000n,
    output: 10_000_000_000n,
  });
});

test("a list that the configuration cannot use leaves the file as it was", async () => {
  const before = readFileSync(at("prices.yaml"), "utf8");
  writeFileSync(at("list.csv"), "provider,model,input_usd_per_million,output_usd_per_million\nstranger,m,1,2\n");
  await expect(take("list.csv")).rejects.toThrow(ConfigError);
  expect(readFileSync(at("prices.yaml"), "utf8")).toBe(before);
  writeFileSync(at("list.csv"), "provider,model,input_usd_per_million,output_usd_per_million\nhouse,m,1e3,2\n");
  await expect(take("list.csv")).rejects.toThrow("house/m: a price is USD as decimal text");
});

test("a file that weir.yaml does not name is not written to", async () => {
  makePriceFile(at("other.yaml"));
  await expect(addToPriceFile(configPath, at("other.yaml"), [])).rejects.toThrow("does not name");
});
