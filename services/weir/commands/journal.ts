import { existsSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { JournalContents } from "@weir/pool/journal/inspect";
import { Command } from "commander";
import { OperatorError } from "../operator-error.ts";
import { addressText, callTimeoutMs, type Gateway, withGateway } from "./gateway.ts";

/** How long the ledger may confirm nothing before the command gives up. */
const patienceMs = 60_000;
const pollMs = 100;

interface AdoptOptions {
  readonly olderCopy?: boolean;
  readonly address?: string;
}

export function journalCommand(): Command {
  const command = new Command("journal").description(
    "journals of pools: what is in one, and what to do with one left behind",
  );
  command
    .command("status")
    .description("what a journal holds; changes nothing")
    .argument("<directory>", "the journal: `journal` in a data folder")
    .addHelpText("after", "\nExample:\n  weir journal status .weir/journal")
    .action(async (directory: string) => {
      process.stdout.write(describe(await contentsOf(directory)));
    });
  command
    .command("adopt")
    .description("bring what an abandoned journal holds to the ledger; may be repeated, and ended at any moment")
    .argument("<directory>", "the journal of a pool that will not come back, on this machine or mounted from another")
    .option("--older-copy", "adopt a copy that is older than what the ledger has; only when the original is gone")
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      "\nNever adopt a copy of a journal whose pool lives: both would give the same numbers to different usage." +
        "\n\nExample:\n  weir journal adopt /mnt/lost-pool/journal --address metering:9000",
    )
    .action(adopt);
  return command;
}

async function adopt(directory: string, { address, olderCopy }: AdoptOptions): Promise<void> {
  const before = await contentsOf(directory);
  if (before.holder !== undefined) {
    throw new OperatorError(
      `the journal in ${directory} is used by ${before.holder}; only an abandoned one can be adopted`,
    );
  }
  process.stdout.write(describe(before));
  await withGateway(address, async ({ usage }) => {
    // Before the directory is touched: is there a ledger, and does this journal fit to it?
    const { watermark } = await usage.getWatermark({ journalId: before.id }, { timeoutMs: callTimeoutMs });
    const confirmed = Number(watermark?.committedSequence ?? 0n);
    if (confirmed > before.lastSequence && olderCopy !== true) {
      throw new OperatorError(
        `the ledger has ${confirmed} events of this journal and the directory only ${before.lastSequence}: it is an older copy; ` +
          "adopt the original, or add --older-copy when that is gone",
      );
    }
    const last = await drain(directory, usage);
    process.stdout.write(
      `the ledger has all ${last} events of journal ${before.id}, ${Math.max(0, last - confirmed)} of them new; ${directory} can be deleted\n`,
    );
  });
}

/**
 * Opens the journal, which settles what was open as lost, and waits until the ledger has everything.
 * @returns number of the last event
 */
async function drain(directory: string, usage: Gateway["usage"]): Promise<number> {
  const [
    { openJournal },
    { createDrain },
    { createDirectSink },
    { systemClock: clock },
    { createLog },
    { noTelemetry },
  ] = await Promise.all([
    import("@weir/pool/journal/journal"),
    import("@weir/pool/journal/drain"),
    import("@weir/pool/journal/sink-direct"),
    import("@weir/kit/clock"),
    import("@weir/kit/log"),
    import("@weir/kit/telemetry/none"),
  ]);
  const log = createLog({ service: "weir-command", level: "error", destination: 2 });
  const journal = await openJournal({ directory, clock, log });
  try {
    const { meter } = noTelemetry;
    const sink = createDirectSink(usage);
    const draining = createDrain({ journal, sink, clock, random: Math.random, meter, log });
    // That the ledger had something once is no proof that it has it now: it is asked at the end.
    // One that does not answer has not said that it has everything.
    const isDone = async () =>
      draining.idle && (await sink.watermark(journal.id).catch(() => -1n)) >= BigInt(journal.lastSequence);
    let movedMs = clock.monotonic();
    for (let confirmed = journal.committedSequence; !(await isDone()); await sleep(pollMs)) {
      if (journal.committedSequence !== confirmed) {
        confirmed = journal.committedSequence;
        movedMs = clock.monotonic();
      } else if (clock.monotonic() - movedMs > patienceMs) {
        const left = journal.lastSequence - confirmed;
        throw new OperatorError(
          `the ledger has confirmed nothing for ${patienceMs / 1000} s; ${left} events wait in ${directory}, repeat the command later`,
        );
      }
    }
    await draining.stop(0);
    return journal.lastSequence;
  } finally {
    await journal.close();
    log.flush();
  }
}

/** @throws OperatorError when the directory holds no journal that can be read */
async function contentsOf(directory: string): Promise<JournalContents> {
  const [{ inspectJournal }, { JournalUnreadable }] = await Promise.all([
    import("@weir/pool/journal/inspect"),
    import("@weir/pool/journal/recovery"),
  ]);
  const none = new OperatorError(`${directory} holds no journal`);
  if (!existsSync(directory) || !statSync(directory).isDirectory()) throw none;
  const contents = await inspectJournal(directory).catch((error: unknown) => {
    throw error instanceof JournalUnreadable ? new OperatorError(error.message, { cause: error }) : error;
  });
  if (contents === undefined) throw none;
  return contents;
}

function describe(contents: JournalContents): string {
  const waiting = Math.max(0, contents.lastSequence - contents.committedSequence);
  const lines = [
    `journal   ${contents.id}`,
    `used by   ${contents.holder ?? "nobody"}`,
    `size      ${contents.bytes} bytes in ${contents.segments} segments`,
    `settled   ${contents.lastSequence} events, at most ${waiting} of them not confirmed by the ledger`,
    `open      ${contents.openAttempts} attempts without a settlement; adopting ends them as lost, estimated`,
    `damaged   ${contents.damagedRecords} records`,
    ...contents.warnings.map((warning) => `          ${warning}`),
  ];
  return `${lines.join("\n")}\n`;
}
