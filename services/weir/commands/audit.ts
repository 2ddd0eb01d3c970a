import { toJson } from "@bufbuild/protobuf";
import { timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AuditActor,
  AuditActorKind,
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
} from "@weir/gen/weir/account/v1/audit_service_pb";
import { Command, InvalidArgumentError, Option } from "commander";
import { parseMoment } from "../range.ts";
import { renderTable } from "../table.ts";
import { idText, named, wholeNumber, withAddress } from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

interface ListOptions {
  readonly from: number;
  readonly to: number;
  readonly tenant?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly resource?: string;
  readonly refused?: true;
  readonly done?: true;
  readonly limit: number;
  readonly json?: true;
  readonly address?: string;
}

const pageSizeMax = 1_000;
const dayMs = 86_400_000;

export function auditCommand(): Command {
  const command = new Command("audit").description("who changed what, and who was refused: list");
  withAddress(
    command
      .command("list")
      .description("list audit records, the newest first")
      .addOption(
        new Option("--from <time>", "2026-11-01, 2026-11-01T10:00:00Z, or how long ago: 24h, 7d")
          .argParser(moment)
          .default(Date.now() - 30 * dayMs, "30d"),
      )
      .addOption(new Option("--to <time>", "as --from").argParser(moment).default(Date.now(), "now"))
      .option("--tenant <id>", "only about this tenant")
      .option("--actor <key>", "only what this key did: its id, jwt, or operator")
      .option("--action <action>", "only this: keys.rotate, or all of a kind: keys.*")
      .option("--resource <name>", "only what was done to this: keys/abcdefgh234567ab")
      .option("--refused", "only what was refused")
      .option("--done", "only what was done")
      .option("--limit <count>", "most records", wholeNumber, 100)
      .option("--json", "one JSON object for each line, whole"),
  )
    .addHelpText(
      "after",
      `
Examples:
  weir audit list --from 24h
  weir audit list --tenant research --action 'keys.*'
  weir audit list --refused --from 1h --json`,
    )
    .action(list);
  return command;
}

async function list(chosen: ListOptions): Promise<void> {
  const found: AuditRecord[] = [];
  await withGateway(chosen.address, async ({ audit }) => {
    let pageToken = "";
    do {
      const page = await audit.listAuditRecords(
        {
          startTime: timestampFromMs(chosen.from),
          endTime: timestampFromMs(chosen.to),
          tenant: named("tenants/", chosen.tenant),
          actor: chosen.actor ?? "",
          action: chosen.action ?? "",
          resource: chosen.resource ?? "",
          outcome: outcomeOf(chosen),
          pageSize: Math.min(chosen.limit - found.length, pageSizeMax),
          pageToken,
        },
        { timeoutMs: callTimeoutMs },
      );
      found.push(...page.auditRecords);
      pageToken = page.nextPageToken;
    } while (pageToken !== "" && found.length < chosen.limit);
  });
  if (chosen.json) {
    for (const record of found) process.stdout.write(`${JSON.stringify(toJson(AuditRecordSchema, record))}\n`);
    return;
  }
  process.stdout.write(
    renderTable(found, [
      { title: "time", text: ({ time }) => (time === undefined ? "" : timestampDate(time).toISOString()) },
      { title: "who", text: ({ actor }) => actorText(actor) },
      { title: "tenant", text: ({ tenant }) => idText(tenant) },
      { title: "action", text: ({ action }) => action },
      { title: "resource", text: ({ resource }) => resource },
      { title: "what", text: whatText },
    ]),
  );
}

function outcomeOf({ refused, done }: ListOptions): AuditOutcome {
  if (refused === done) return AuditOutcome.UNSPECIFIED;
  return refused ? AuditOutcome.REFUSED : AuditOutcome.DONE;
}

function actorText(actor: AuditActor | undefined): string {
  if (actor === undefined || actor.kind === AuditActorKind.UNKNOWN) return "nobody known";
  if (actor.kind === AuditActorKind.OPERATOR) return "operator";
  return actor.user === "" ? actor.key : `${actor.key} of ${actor.user}`;
}

/** What changed, or why it was refused and how often. */
function whatText({ changes, refusal }: AuditRecord): string {
  if (refusal !== undefined) {
    const { reason, detail, count, address } = refusal;
    const often = count > 1n ? ` ${count} times` : "";
    return `refused${often}: ${reason}${detail === "" ? "" : ` (${detail})`}${address === "" ? "" : ` from ${address}`}`;
  }
  return changes.map(({ field, before, after }) => `${field}: ${before || "-"} -> ${after || "-"}`).join("; ");
}

function moment(text: string): number {
  const time = parseMoment(text, Date.now());
  if (time === undefined)
    throw new InvalidArgumentError("expected 2026-11-21, 2026-11-21T10:00:00Z, or a span such as 7d");
  return time;
}
