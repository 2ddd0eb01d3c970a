import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { loadConfigFiles } from "@weir/kit/config/load";
import { readPrices } from "@weir/kit/config/price-file";
import { parseYaml } from "@weir/kit/config/yaml-text";
import { builtInPrices } from "@weir/price/built-in";
import { comparePrices, type PriceChange } from "@weir/price/compare";
import { priceListFromConfig, pricesFromConfig } from "@weir/price/from-config";
import {
  type DraftPrice,
  draftsFromCsv,
  draftsFromLiteLlm,
  ImportError,
  refuseCurrency,
} from "@weir/price/import-forms";
import { createPriceList, type PriceList } from "@weir/price/price";
import { isSeq, parseDocument } from "yaml";
import { OperatorError } from "./operator-error.ts";

/** What is to be taken from a list. */
export interface ImportChoice {
  /** Only of this provider, as the list names it; undefined: of all. */
  readonly provider: string | undefined;
  /** The id under which weir.yaml has it; undefined: as the list names it. */
  readonly as: string | undefined;
  /** For entries that say no time of their own: `YYYY-MM-DD`; undefined: they hold always. */
  readonly effectiveTime: string | undefined;
}

/** A price of a list, and what taking it would change. */
export interface PlannedPrice extends PriceChange {
  /** As a price file has it. */
  readonly draft: DraftPrice;
}

const listBytesMax = 67_108_864;

/** The prices in force by weir.yaml, its price files and the built-in list. @throws ConfigError */
export async function pricesInForce(configPath: string | undefined): Promise<PriceList> {
  const { config } = await loadConfigFiles({ path: configPath, env: process.env });
  return priceListFromConfig(config.prices, builtInPrices);
}

/**
 * Reads a list (CSV, the form of `price_files`, or LiteLLM's) and compares it with the prices in force.
 * @throws OperatorError for a list that cannot be read, and for two entries that contradict each other
 */
export function planImport(file: string, choice: ImportChoice, list: PriceList): PlannedPrice[] {
  const drafts = readDrafts(file, choice)
    .filter((draft) => choice.provider === undefined || draft["provider"] === choice.provider)
    .map((draft): DraftPrice => {
      const { tiers = [], ...rest } = draft;
      const source = rest["source"] ?? basename(file);
      const provider = choice.as ?? rest["provider"];
      return { ...rest, provider, source, ...(tiers.length === 0 ? {} : { tiers }) };
    });
  const { prices, faults } = readPrices({ prices: drafts });
  if (faults.length > 0) {
    const texts = faults.slice(0, 20).map(({ path, text }) => `  ${path}: ${text}`);
    throw new OperatorError(`${basename(file)} cannot be used:\n${texts.join("\n")}`);
  }
  try {
    const incoming = createPriceList(pricesFromConfig(prices, builtInPrices)).prices;
    return comparePrices(list, incoming).map((change, index) => ({ ...change, draft: drafts[index] ?? {} }));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new OperatorError(`${basename(file)} cannot be used: ${error.message}`, { cause: error });
  }
}

function readDrafts(file: string, choice: ImportChoice): DraftPrice[] {
  const text = readList(file);
  try {
    if (file.toLowerCase().endsWith(".csv")) return draftsFromCsv(text, choice);
    const { value, faults } = parseYaml(text);
    const [fault] = faults;
    if (fault) throw new ImportError(fault.text);
    if (typeof value !== "object" || value === null) throw new ImportError("expected named values");
    refuseCurrency(value);
    if (!("prices" in value)) return draftsFromLiteLlm(value, choice);
    if (!Array.isArray(value.prices)) throw new ImportError("expected a list under `prices`");
    return value.prices.map((entry: unknown) => {
      const draft = typeof entry === "object" && entry !== null ? { ...entry } : {};
      refuseCurrency(draft);
      const timed = "effective_time" in draft || choice.effectiveTime === undefined;
      return timed ? draft : { ...draft, effective_time: choice.effectiveTime };
    });
  } catch (error) {
    if (!(error instanceof ImportError)) throw error;
    throw new OperatorError(`${basename(file)} cannot be used: ${error.message}`, { cause: error });
  }
}

function readList(file: string): string {
  try {
    if (statSync(file).size > listBytesMax) throw Object.assign(new Error("too large"), { code: "EFBIG" });
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new OperatorError(`${file} cannot be read (${code})`, { cause: error });
  }
}

/** Makes an empty price file where weir.yaml names one that is not there yet. */
export function makePriceFile(target: string): void {
  if (existsSync(target)) return;
  replaceFile(target, "# Written by `weir prices apply`: entries are added, never edited.\nprices: []\n");
}

/**
 * Adds prices to a price file, behind what stands there. The file is replaced as a whole, and put back when the
 * configuration cannot be used with it.
 * @param target a file that weir.yaml names under `price_files`
 * @throws OperatorError when weir.yaml does not name it; ConfigError when the configuration cannot be used with it
 */
export async function addToPriceFile(configPath: string, target: string, drafts: readonly DraftPrice[]): Promise<void> {
  const { files } = await loadConfigFiles({ path: configPath, env: process.env });
  if (!files.includes(resolve(target))) {
    throw new OperatorError(`weir.yaml does not name ${target} under price_files; add it there`);
  }
  const before = readFileSync(target, "utf8");
  const document = parseDocument(before);
  const standing = document.get("prices");
  // A list in one line grows into lines of its own.
  if (isSeq(standing)) standing.flow = false;
  for (const draft of drafts) document.addIn(["prices"], document.createNode(draft));
  replaceFile(target, document.toString({ lineWidth: 0 }));
  try {
    await pricesInForce(configPath);
  } catch (error) {
    replaceFile(target, before);
    throw error;
  }
}

function replaceFile(file: string, text: string): void {
  const draft = resolve(dirname(file), `.${basename(file)}.${randomUUID()}`);
  writeFileSync(draft, text, { flag: "wx" });
  renameSync(draft, file);
}
