import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CostDimension, type CostRow } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { Command, InvalidArgumentError } from "commander";
import { parseMoment } from "../range.ts";
import { type Column, renderTable, usdText } from "../table.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";
import { addressText, wholeNumber } from "./keys.ts";

const dimensions = {
  day: { value: CostDimension.DAY, text: (row: CostRow) => row.day },
  tenant: { value: CostDimension.TENANT, text: (row: CostRow) => row.tenant },
  key: { value: CostDimension.KEY, text: (row: CostRow) => row.key },
  alias: { value: CostDimension.ALIAS, text: (row: CostRow) => row.alias },
  provider: { value: CostDimension.PROVIDER, text: (row: CostRow) => row.provider },
  model: { value: CostDimension.MODEL, text: (row: CostRow) => row.model },
  user: { value: CostDimension.USER, text: (row: CostRow) => row.user },
} as const;
type Dimension = keyof typeof dimensions;

interface UsageOptions {
  readonly by: readonly Dimension[];
  readonly since: number;
  readonly until?: number;
  readonly limit: number;
  readonly address?: string;
}

export function usageCommand(): Command {
  return new Command("usage")
    .description("what was used and what it cost")
    .option(
      "--by <dimensions>",
      `what to sum by, separated by commas: ${Object.keys(dimensions).join(", ")}`,
      readDimensions,
      ["day", "model"] as readonly Dimension[],
    )
    .option(
      "--since <time>",
      "from when: 2026-11-21, a time, or a span such as 24h or 7d",
      moment,
      Date.now() - 30 * 86_400_000,
    )
    .option("--until <time>", "until when; default: now", moment)
    .option("--limit <count>", "most rows to print, at most 10000", wholeNumber, 100)
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      "\nExamples:\n  weir usage --by day,model --since 7d\n  weir usage --by tenant,key --since 2026-11-01",
    )
    .action(async (chosen: UsageOptions) => {
      const { rows, truncated } = await withGateway(chosen.address, ({ usage }) =>
        usage.listCosts(
          {
            startTime: timestampFromMs(chosen.since),
            ...(chosen.until === undefined ? {} : { endTime: timestampFromMs(chosen.until) }),
            dimensions: chosen.by.map((name) => dimensions[name].value),
            rowCountMax: Math.min(chosen.limit, 10_000),
          },
          { timeoutMs: callTimeoutMs },
        ),
      );
      if (rows.length === 0) {
        process.stdout.write("no usage in this time\n");
        return;
      }
      process.stdout.write(
        renderTable(rows, [
          ...chosen.by.map((name): Column<CostRow> => ({ title: name, text: dimensions[name].text })),
          ...sums,
        ]),
      );
      if (rows.some((row) => row.estimatedCount > 0n)) {
        process.stderr.write("estimated: attempts whose provider did not report what they used\n");
      }
      if (truncated) process.stderr.write(`only the first ${rows.length} rows are shown; see --limit\n`);
    });
}

const sums: readonly Column<CostRow>[] = [
  { title: "requests", text: (row) => String(row.requestCount), align: "right" },
  { title: "attempts", text: (row) => String(row.attemptCount), align: "right" },
  { title: "input", text: (row) => String(row.inputTokens), align: "right" },
  { title: "output", text: (row) => String(row.outputTokens), align: "right" },
  { title: "cost USD", text: (row) => usdText(row.costNanoUsd), align: "right" },
  { title: "charge USD", text: (row) => usdText(row.chargeNanoUsd), align: "right" },
  { title: "estimated", text: (row) => String(row.estimatedCount), align: "right" },
];

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
