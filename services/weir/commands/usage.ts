import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CostDimension, type CostRow } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { Command, InvalidArgumentError, Option } from "commander";
import { parseMoment } from "../range.ts";
import { renderUsage, totalOf, usageJson } from "../usage-report.ts";
import { wholeNumber } from "./account-options.ts";
import { addressText, callTimeoutMs, withGateway } from "./gateway.ts";

const dimensions = {
  day: { value: CostDimension.DAY, text: (row: CostRow) => row.day },
  tenant: { value: CostDimension.TENANT, text: (row: CostRow) => row.tenant },
  key: { value: CostDimension.KEY, text: (row: CostRow) => row.key },
  alias: { value: CostDimension.ALIAS, text: (row: CostRow) => row.alias },
  provider: { value: CostDimension.PROVIDER, text: (row: CostRow) => row.provider },
  model: { value: CostDimension.MODEL, text: (row: CostRow) => row.model },
  user: { value: CostDimension.USER, text: (row: CostRow) => row.user },
  tag: { value: CostDimension.TAG, text: (row: CostRow) => row.tag },
} as const;
type Dimension = keyof typeof dimensions;

const filters = ["tenant", "key", "alias", "provider", "model", "user", "tag"] as const;

interface UsageOptions extends Partial<Record<(typeof filters)[number], string>> {
  readonly by: readonly Dimension[];
  readonly from: number;
  readonly to: number;
  readonly limit: number;
  readonly format: "table" | "csv" | "json";
  readonly address?: string;
}

const rowsMax = 10_000;
const exportTimeoutMs = 600_000;

export function usageCommand(): Command {
  const nowMs = Date.now();
  const command = new Command("usage")
    .description("what was used and what it cost")
    .addOption(
      new Option("--by <dimensions>", `what to sum by, separated by commas: ${Object.keys(dimensions).join(", ")}`)
        .argParser(readDimensions)
        .default(["day", "model"], "day,model"),
    )
    .addOption(
      new Option("--from <time>", "from when: 2026-11-21, a time, or a span such as 24h or 7d")
        .argParser(moment)
        .default(nowMs - 30 * 86_400_000, "30d"),
    )
    .addOption(new Option("--to <time>", "until when").argParser(moment).default(nowMs, "now"));
  for (const name of filters) {
    command.option(
      `--${name} <${name}>`,
      name === "tag" ? "only with this tag: team=search, or team; by tag, only this one" : `only of this ${name}`,
    );
  }
  return command
    .addOption(
      new Option("--format <format>", "table, or csv or json for programs; csv has every row")
        .choices(["table", "csv", "json"])
        .default("table"),
    )
    .option(
      "--limit <count>",
      `most rows of a table or of json, at most ${rowsMax}; the total is of all`,
      wholeNumber,
      100,
    )
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      `
Examples:
  weir usage --by day,model --from 7d
  weir usage --by tenant,key --from 2026-11-01 --to 2026-12-01
  weir usage --by tag --tag team --from 30d
  weir usage --by day,user --tenant default --format csv > usage.csv`,
    )
    .action(run);
}

async function run(chosen: UsageOptions): Promise<void> {
  const question = {
    startTime: timestampFromMs(chosen.from),
    endTime: timestampFromMs(chosen.to),
    ...Object.fromEntries(filters.flatMap((name) => (chosen[name] === undefined ? [] : [[name, chosen[name]]]))),
  };
  const asked = { ...question, dimensions: chosen.by.map((name) => dimensions[name].value) };
  if (chosen.format === "csv") {
    await withGateway(chosen.address, async ({ usage }) => {
      // Links keep no process alive.
      const alive = setTimeout(() => {}, exportTimeoutMs);
      try {
        for await (const { csv } of usage.exportUsage(
          { table: { case: "costs", value: asked } },
          { timeoutMs: exportTimeoutMs },
        )) {
          await new Promise<void>((resolve, reject) =>
            process.stdout.write(csv, (error) => (error ? reject(error) : resolve())),
          );
        }
      } finally {
        clearTimeout(alive);
      }
    });
    return;
  }
  const options = { timeoutMs: callTimeoutMs };
  const [{ rows, truncated }, byTenant] = await withGateway(chosen.address, ({ usage }) =>
    Promise.all([
      usage.listCosts({ ...asked, rowCountMax: Math.min(chosen.limit, rowsMax) }, options),
      // No request is of two tenants, while sums by other dimensions may count one twice.
      usage.listCosts({ ...question, dimensions: [CostDimension.TENANT], rowCountMax: rowsMax }, options),
    ]),
  );
  const total = totalOf(byTenant.rows);
  if (chosen.format === "json") {
    process.stdout.write(usageJson(rows, total));
  } else if (rows.length === 0) {
    process.stdout.write("no usage in this time\n");
  } else {
    process.stdout.write(
      renderUsage(
        rows,
        total,
        chosen.by.map((name) => ({ name, text: dimensions[name].text })),
      ),
    );
  }
  if (total.estimatedCount > 0n) {
    process.stderr.write("estimated: attempts whose provider did not report what they used\n");
  }
  if (total.unpricedCount > 0n) {
    process.stderr.write(
      "unpriced: attempts whose cost is not known, and in no sum; `weir prices apply` adds prices\n",
    );
  }
  if (truncated) process.stderr.write(`only the first ${rows.length} rows are shown; see --limit\n`);
}

function readDimensions(text: string): readonly Dimension[] {
  const names = text.split(",").map((name) => name.trim());
  const known = (name: string): name is Dimension => Object.hasOwn(dimensions, name);
  if (!names.every(known) || new Set(names).size !== names.length) {
    throw new InvalidArgumentError(`expected some of ${Object.keys(dimensions).join(", ")}, each once`);
  }
  return names;
}

function moment(text: string): number {
  const time = parseMoment(text, Date.now());
  if (time === undefined)
    throw new InvalidArgumentError("expected 2026-11-21, 2026-11-21T10:00:00Z, or a span such as 7d");
  return time;
}
