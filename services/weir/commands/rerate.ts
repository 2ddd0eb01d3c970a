import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { RerateResponse } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { Command, InvalidArgumentError, Option } from "commander";
import { OperatorError } from "../operator-error.ts";
import { parseMoment } from "../range.ts";
import { usdText } from "../table.ts";
import { addressText, callTimeoutMs, type Gateway, withGateway } from "./gateway.ts";

interface RerateOptions {
  readonly asOf: number;
  readonly from?: number;
  readonly to?: number;
  readonly tenant?: string;
  readonly provider?: string;
  readonly model?: string;
  readonly apply?: boolean;
  readonly dryRun?: boolean;
  readonly format: "table" | "csv";
  readonly address?: string;
}

export function rerateCommand(): Command {
  return new Command("rerate")
    .description("price recorded attempts anew, by the price book as of a time")
    .addOption(
      new Option(
        "--as-of <time>",
        "as of when the price book is taken: 2026-11-21 (its first moment, UTC), a time, or 7d",
      )
        .argParser(moment)
        .makeOptionMandatory(),
    )
    .addOption(new Option("--from <time>", "attempts from then on; default: from the first one").argParser(moment))
    .addOption(new Option("--to <time>", "attempts before then; default: as --as-of").argParser(moment))
    .option("--tenant <id>", "only of this tenant")
    .option("--provider <id>", "only to this provider")
    .option("--model <name>", "only to this model, as the provider names it")
    .option("--apply", "write the differences; without it they are only listed")
    .addOption(new Option("--dry-run", "only list the differences, as without --apply").conflicts("apply"))
    .addOption(
      new Option("--format <format>", "table, a part for each day; or csv for programs")
        .choices(["table", "csv"])
        .default("table"),
    )
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      `
The book as of a time has the prices that the ledger had been told of by then. An attempt costs by the one that was in force
when it began, or at that time if it began later. What was recorded stays; differences stand beside it as adjustments, and
every sum includes them. Made twice, a run writes nothing the second time; one that broke off is finished by making it again.
docs/prices.md says more.

Examples:
  weir ledger rerate --as-of 2026-11-21 --from 2026-11-01 --provider openai
  weir ledger rerate --as-of 2026-11-21 --from 2026-11-01 --provider openai --apply`,
    )
    .action(run);
}

async function run(chosen: RerateOptions): Promise<void> {
  if (chosen.asOf > Date.now())
    throw new OperatorError("--as-of must not lie in the future: nobody knows that book yet");
  const to = chosen.to ?? chosen.asOf;
  if (chosen.from !== undefined && chosen.from >= to) throw new OperatorError("--from must lie before --to");
  const { createChangeSums, rerateCsv, rerateCsvHeader, rerateTable } = await import("../rerate-report.ts");
  const { format, apply = false } = chosen;
  const sums = createChangeSums();
  const total = { seen: 0n, changed: 0n, unpriced: 0n, unknown: 0n, before: 0n, after: 0n };
  let isFirst = true;
  const write = async (before: string | undefined): Promise<void> => {
    const changes = sums.take(before);
    const head = isFirst && format === "csv" ? rerateCsvHeader() : !isFirst && changes.length > 0 ? "\n" : "";
    const text = format === "csv" ? `${isFirst ? head : ""}${rerateCsv(changes)}` : `${head}${rerateTable(changes)}`;
    if (text === "") return;
    isFirst = false;
    await new Promise<void>((resolve, reject) =>
      process.stdout.write(text, (error) => (error ? reject(error) : resolve())),
    );
  };
  await withGateway(chosen.address, async (gateway) => {
    for await (const page of pagesOf(gateway, chosen)) {
      sums.add(page.changes);
      total.seen += page.attemptCount;
      total.unpriced += page.unpricedCount;
      total.unknown += page.unknownCount;
      for (const change of page.changes) {
        total.changed += change.attemptCount;
        total.before += change.costBeforeNanoUsd;
        total.after += change.costNanoUsd;
      }
      const day = page.changes.at(-1)?.day;
      // Days before it are over.
      if (day !== undefined) await write(day);
    }
  });
  await write(undefined);
  const asOf = new Date(chosen.asOf).toISOString();
  const money = total.changed === 0n ? "" : `: ${usdText(total.after)} USD in place of ${usdText(total.before)}`;
  const verb = apply ? "were adjusted" : "differ";
  process.stderr.write(`as of ${asOf}, ${total.changed} of ${total.seen} attempts ${verb}${money}\n`);
  if (total.unpriced > 0n) {
    process.stderr.write(`${total.unpriced} attempts have no price in that book, and keep what they have\n`);
  }
  if (total.unknown > 0n) {
    process.stderr.write(`${total.unknown} attempts cost what nobody knows by that book, and keep what they have\n`);
  }
  if (!apply && total.changed > 0n) process.stderr.write("nothing was written; see --apply\n");
}

async function* pagesOf({ ledger }: Gateway, chosen: RerateOptions): AsyncGenerator<RerateResponse, void, undefined> {
  // Links keep no process alive.
  const alive = setInterval(() => {}, 60_000);
  try {
    let pageToken = "";
    do {
      const page = await ledger.rerate(
        {
          asOf: timestampFromMs(chosen.asOf),
          ...(chosen.from === undefined ? {} : { startTime: timestampFromMs(chosen.from) }),
          ...(chosen.to === undefined ? {} : { endTime: timestampFromMs(chosen.to) }),
          tenant: chosen.tenant ?? "",
          provider: chosen.provider ?? "",
          model: chosen.model ?? "",
          apply: chosen.apply ?? false,
          pageToken,
        },
        { timeoutMs: callTimeoutMs },
      );
      yield page;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  } finally {
    clearInterval(alive);
  }
}

function moment(text: string): number {
  const time = parseMoment(text, Date.now());
  if (time === undefined) {
    throw new InvalidArgumentError("expected 2026-11-21, 2026-11-21T10:00:00Z, or a span such as 7d");
  }
  return time;
}
