import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CostDimension } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { Command, InvalidArgumentError, Option } from "commander";
import { OperatorError } from "../operator-error.ts";
import { type Comparison, compareUsage, type LedgerRow, trueUpsOf } from "../reconcile/compare.ts";
import { dayAfter, isDay } from "../reconcile/fields.ts";
import { fromProtoCostRow, toProtoReportedCounts } from "../reconcile/ledger-rows.ts";
import { ExportError, type UsageCounts, type UsageExport } from "../reconcile/usage-row.ts";
import { addressText, callTimeoutMs, type Gateway, withGateway } from "./gateway.ts";

interface ReconcileOptions {
  readonly provider: string;
  readonly file: string;
  readonly from?: string;
  readonly to?: string;
  readonly rename: ReadonlyMap<string, string>;
  readonly format: "table" | "csv" | "json";
  readonly trueUp?: boolean;
  readonly address?: string;
}

/** Exit codes, as those of diff(1). */
const agreeCode = 0;
const differCode = 1;
const troubleCode = 2;

const fileBytesMax = 67_108_864;
const pageRowsMax = 10_000;
/** A million days and models. */
const pagesMax = 100;
/** A day and model with a hundred thousand attempts to share out among. */
const trueUpTimeoutMs = 30_000;

export function reconcileCommand(): Command {
  return new Command("reconcile")
    .description("compare a provider's usage export with the ledger, by day and model, and true it up")
    .requiredOption("--provider <id>", "the provider, as weir.yaml names it")
    .requiredOption("--file <path>", "its export, at most 64 MiB")
    .addOption(new Option("--from <day>", "from which UTC day: 2026-11-01; default: the file's first").argParser(day))
    .addOption(new Option("--to <day>", "until which UTC day; default: behind the file's last").argParser(day))
    .addOption(
      new Option(
        "--rename <exported=model>",
        "a model that the export names otherwise than the ledger; may be repeated",
      )
        .argParser(rename)
        .default(new Map<string, string>(), "none"),
    )
    .addOption(
      new Option("--format <format>", "table, or csv or json for programs")
        .choices(["table", "csv", "json"])
        .default("table"),
    )
    .option("--true-up", "adjust attempts whose provider did not report what they used, so that the rest agrees")
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      `
FILE is CSV or a JSON list of rows (day, model, input_tokens, cached_input_tokens, cache_write_tokens,
cache_write_long_tokens, output_tokens, reasoning_tokens, requests, cost_usd: those that the provider tells), or pages of
OpenAI's usage API of completions or Anthropic's usage report of messages, by model. docs/reconcile.md says more.
Nothing is changed without --true-up. The exit code is 0 when all agree, or do so after it, 1 when something differs, 2 when
nothing was compared.

explainable: how much of a difference attempts could explain whose provider did not report what they used. With --true-up
these are adjusted, each by its share: the differences are listed as they were before, and what is left of them is told.

Examples:
  weir reconcile --provider openai --file usage.json
  weir reconcile --provider openai --file usage.json --rename gpt-4o-2024-08-06=gpt-4o
  weir reconcile --provider openai --file usage.json --true-up
  weir reconcile --provider acme --file bill.csv --from 2026-11-01 --to 2026-12-01 --format csv > differences.csv`,
    )
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : troubleCode))
    .action(run);
}

async function run(chosen: ReconcileOptions): Promise<void> {
  // Whatever fails before the comparison is done must not read as a difference.
  process.exitCode = troubleCode;
  const exported = await readExport(chosen.file);
  const days = exported.days.toSorted();
  const from = chosen.from ?? days[0] ?? "";
  const to = chosen.to ?? dayAfter(days.at(-1) ?? "");
  if (from >= to) throw new OperatorError("--from must lie before --to, which is the day behind the last one");
  const told = exported.days.some((name) => name >= from && name < to);
  if (!told) throw new OperatorError(`${basename(chosen.file)} tells of no day from ${from} until ${to}`);
  const rows = exported.rows
    .filter((row) => row.day >= from && row.day < to)
    .map((row) => ({ ...row, model: chosen.rename.get(row.model) ?? row.model }));
  const exportedRows = { rows, classes: exported.classes };
  const compared = { provider: chosen.provider, form: exported.form, from, to };
  const left = await withGateway(chosen.address, async (gateway) => {
    const ledger = await readLedger(gateway, chosen.provider, from, to);
    const comparison = compareUsage(exportedRows, ledger);
    await write(comparison, chosen, compared);
    if (ledger.length === 0) {
      process.stderr.write(
        `the ledger has no attempts of ${chosen.provider} in this time; --provider takes its name in weir.yaml\n`,
      );
    }
    if (chosen.trueUp !== true || comparison.differences.length === 0) return comparison;
    const adjustedCount = await trueUp(gateway, chosen.provider, trueUpsOf(exportedRows, comparison));
    const after = compareUsage(exportedRows, await readLedger(gateway, chosen.provider, from, to));
    const count = after.differences.length;
    const rest = count === 0 ? "all agree now" : `${count} ${count === 1 ? "difference is" : "differences are"} left`;
    const adjusted = adjustedCount === 1n ? "1 attempt was" : `${adjustedCount} attempts were`;
    process.stderr.write(`${adjusted} trued up; ${rest}\n`);
    return after;
  });
  process.exitCode = left.differences.length === 0 ? agreeCode : differCode;
}

/** @returns how many attempts were adjusted */
async function trueUp(
  { ledger }: Gateway,
  provider: string,
  trueUps: readonly { readonly day: string; readonly model: string; readonly counts: UsageCounts }[],
): Promise<bigint> {
  // Links keep no process alive.
  const alive = setInterval(() => {}, 60_000);
  try {
    let adjustedCount = 0n;
    for (const { day, model, counts } of trueUps) {
      const answer = await ledger.trueUp(
        { provider, day, model, counts: toProtoReportedCounts(counts) },
        { timeoutMs: trueUpTimeoutMs },
      );
      adjustedCount += answer.adjustedCount;
    }
    return adjustedCount;
  } finally {
    clearInterval(alive);
  }
}

async function write(
  comparison: Comparison,
  { format }: ReconcileOptions,
  compared: { provider: string; form: UsageExport["form"]; from: string; to: string },
): Promise<void> {
  const { reconcileCsv, reconcileJson, reconcileTable } = await import("../reconcile/render.ts");
  if (format === "json") {
    process.stdout.write(reconcileJson(comparison, compared));
  } else if (format === "csv") {
    process.stdout.write(reconcileCsv(comparison));
  } else if (comparison.differences.length > 0) {
    process.stdout.write(reconcileTable(comparison));
  }
  const { provider, from, to } = compared;
  const count = comparison.differences.length;
  const outcome = count === 0 ? "all agree" : `${count} ${count === 1 ? "difference" : "differences"}`;
  const { comparedCount } = comparison;
  const what = comparedCount === 1 ? "1 day and model" : `${comparedCount} days and models`;
  process.stderr.write(`${outcome}: ${provider}, ${what} from ${from} until ${to}\n`);
}

async function readExport(file: string): Promise<UsageExport> {
  const { readUsageExport } = await import("../reconcile/read-export.ts");
  const text = readBounded(file);
  try {
    return readUsageExport(text);
  } catch (error) {
    if (!(error instanceof ExportError)) throw error;
    throw new OperatorError(`${basename(file)} cannot be used: ${error.message}`, { cause: error });
  }
}

function readBounded(file: string): string {
  try {
    const stat = statSync(file);
    // Of a pipe nobody knows the size.
    if (!stat.isFile()) throw Object.assign(new Error("no file"), { code: "not a file" });
    if (stat.size > fileBytesMax) throw Object.assign(new Error("too large"), { code: "EFBIG" });
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new OperatorError(`${file} cannot be read (${code})`, { cause: error });
  }
}

async function readLedger({ usage }: Gateway, provider: string, from: string, to: string): Promise<LedgerRow[]> {
  // Links keep no process alive.
  const alive = setTimeout(() => {}, pagesMax * callTimeoutMs);
  try {
    const rows: LedgerRow[] = [];
    let pageToken = "";
    for (let page = 0; page < pagesMax; page += 1) {
      const answer = await usage.listCosts(
        {
          startTime: timestampFromMs(Date.parse(from)),
          endTime: timestampFromMs(Date.parse(to)),
          dimensions: [CostDimension.DAY, CostDimension.MODEL],
          provider,
          rowCountMax: pageRowsMax,
          pageToken,
        },
        { timeoutMs: callTimeoutMs },
      );
      if (answer.rows.some(({ unreported }) => unreported === undefined)) {
        throw new OperatorError(
          "metering is of an older version, which does not tell classes of tokens; update it first",
        );
      }
      rows.push(...answer.rows.map(fromProtoCostRow));
      pageToken = answer.nextPageToken;
      if (pageToken === "") return rows;
    }
    throw new OperatorError("the ledger has too many days and models in this time; take a shorter one");
  } finally {
    clearTimeout(alive);
  }
}

function day(text: string): string {
  if (!isDay(text)) throw new InvalidArgumentError("expected a day such as 2026-11-21");
  return text;
}

function rename(text: string, before: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const [, exported, model] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (exported === undefined || model === undefined) throw new InvalidArgumentError("expected EXPORTED=MODEL");
  return new Map([...before, [exported, model]]);
}
