import { dirname, resolve } from "node:path";
import type { Price } from "@weir/price/price";
import { Command } from "commander";
import { OperatorError } from "../operator-error.ts";
import type { PlannedPrice } from "../price-import.ts";
import { parseMoment } from "../range.ts";
import { readSettings } from "../settings.ts";
import { renderTable } from "../table.ts";

interface ImportOptions {
  readonly provider?: string;
  readonly as?: string;
  readonly effective?: string;
  readonly to?: string;
}

const forms = `
FILE is CSV with a line of names first (provider, model, effective_time, input_usd_per_million, ...; rows with service_tier
or input_tokens_above are tiers of the price before them), YAML or JSON as in price_files, or LiteLLM's list of models.
A price is never edited: other rates need a later effective_time, or --effective for entries that say none.`;

export function pricesCommand(): Command {
  const command = new Command("prices").description("prices in force: list, compare with a file, add from a file");
  command
    .command("list")
    .description("the prices of weir.yaml, its price_files and the built-in list")
    .option("--provider <id>", "only of this provider")
    .option("--model <name>", "only of this model, as its price names it")
    .option("--at <time>", "only those that hold at this time, such as 2026-11-21")
    .addHelpText("after", "\nExample:\n  weir prices list --provider openai --at 2026-11-21")
    .action(list);
  const importing = (name: string, text: string) =>
    command
      .command(name)
      .description(text)
      .argument("<file>", "the list")
      .option("--provider <id>", "take only this provider's, as the list names it")
      .option("--as <id>", "the provider's id in weir.yaml, where it differs")
      .option("--effective <day>", "from when entries hold that do not say so: 2026-12-01");
  importing("diff", "what taking prices from a file would change")
    .addHelpText(
      "after",
      `${forms}\n\nExample:\n  weir prices diff model_prices.json --provider gemini --as google --effective 2026-12-01`,
    )
    .action(diff);
  importing("apply", "add the prices of a file that are new to a file of price_files")
    .option("--to <path>", "the file of price_files to add to; default: the first one of weir.yaml")
    .addHelpText(
      "after",
      `${forms}\nEvery process that reads weir.yaml has the prices a second later. Nothing is added when any price is refused.

Example:
  weir prices apply contract.csv --effective 2026-12-01`,
    )
    .action(apply);
  return command;
}

async function list(chosen: { provider?: string; model?: string; at?: string }): Promise<void> {
  const [{ pricesInForce }, { rateText }] = await Promise.all([
    import("../price-import.ts"),
    import("@weir/price/compare"),
  ]);
  const inForce = await pricesInForce(readSettings(process.env).configPath);
  const atMs = chosen.at === undefined ? undefined : parseMoment(chosen.at, Date.now());
  if (chosen.at !== undefined && atMs === undefined) {
    throw new OperatorError("--at: expected 2026-11-21, 2026-11-21T10:00:00Z, or a span such as 7d");
  }
  const prices = inForce.prices.filter(
    (price) =>
      (chosen.provider === undefined || price.provider === chosen.provider) &&
      (chosen.model === undefined || price.model === chosen.model) &&
      (atMs === undefined || inForce.find(price, atMs)?.id === price.id),
  );
  process.stdout.write(
    renderTable(prices, [
      { title: "provider", text: ({ provider }) => provider },
      { title: "model", text: ({ model }) => model },
      { title: "from", text: dayOf },
      { title: "USD for a million tokens", text: rateText },
      { title: "source", text: ({ source }) => source },
    ]),
  );
}

function dayOf({ effectiveTime }: Price): string {
  return effectiveTime === undefined ? "always" : new Date(effectiveTime).toISOString().replace("T00:00:00.000Z", "");
}

async function plan(file: string, chosen: ImportOptions): Promise<PlannedPrice[]> {
  const { planImport, pricesInForce } = await import("../price-import.ts");
  const inForce = await pricesInForce(readSettings(process.env).configPath);
  const choice = { provider: chosen.provider, as: chosen.as, effectiveTime: chosen.effective };
  return planImport(file, choice, inForce);
}

async function diff(file: string, chosen: ImportOptions): Promise<void> {
  const { rateText } = await import("@weir/price/compare");
  const planned = await plan(file, chosen);
  for (const { kind, price, standing } of planned) {
    if (kind === "same") continue;
    const name = `${price.provider}/${price.model} from ${dayOf(price)}`;
    process.stdout.write(`${kind}  ${name}\n`);
    if (standing) process.stdout.write(`  - ${rateText(standing)}  (${dayOf(standing)}, ${standing.source})\n`);
    process.stdout.write(`  + ${rateText(price)}\n`);
  }
  const count = (kind: PlannedPrice["kind"]) => planned.filter((change) => change.kind === kind).length;
  const kinds = (["new", "later", "refused", "same"] as const).map((kind) => `${count(kind)} ${kind}`);
  process.stdout.write(`${kinds.join(", ")}\n`);
  if (count("refused") > 0) process.exitCode = 1;
}

async function apply(file: string, chosen: ImportOptions): Promise<void> {
  const { configPath } = readSettings(process.env);
  if (configPath === undefined) throw new OperatorError("there is no weir.yaml here; make one, or set WEIR_CONFIG");
  const { addToPriceFile, makePriceFile } = await import("../price-import.ts");
  const target = chosen.to ?? (await firstPriceFile(configPath));
  if (chosen.to === undefined) makePriceFile(target);
  const planned = await plan(file, chosen);
  if (planned.some(({ kind }) => kind === "refused")) {
    await diff(file, chosen);
    throw new OperatorError("prices are never edited: give other rates a later effective time (--effective)");
  }
  const drafts = planned.flatMap(({ kind, draft }) => (kind === "same" ? [] : [draft]));
  if (drafts.length === 0) {
    process.stdout.write("nothing to add: the prices are in force already\n");
    return;
  }
  await addToPriceFile(configPath, target, drafts);
  const count = drafts.length === 1 ? "1 price was" : `${drafts.length} prices were`;
  process.stdout.write(`${count} added to ${target}\n`);
}

/** Read without what it names: the file may not be there yet. */
async function firstPriceFile(configPath: string): Promise<string> {
  const [{ readFile }, { parseYaml }] = await Promise.all([
    import("node:fs/promises"),
    import("@weir/kit/config/yaml-text"),
  ]);
  const { value } = parseYaml(await readFile(configPath, "utf8"));
  const named = typeof value === "object" && value !== null && "price_files" in value ? value.price_files : undefined;
  const first: unknown = Array.isArray(named) ? named[0] : undefined;
  if (typeof first !== "string") {
    throw new OperatorError("weir.yaml names no file to add to: write `price_files: [prices.yaml]`");
  }
  return resolve(dirname(configPath), first);
}
