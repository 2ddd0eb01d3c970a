import { TeamSchema } from "@weir/gen/weir/account/v1/team_service_pb";
import { Command } from "commander";
import { chosenChanges, type ListOptions, standingText, type UpdateOptions, writeList } from "./account-list.ts";
import {
  allPages,
  type ChosenLimits,
  chosenLimits,
  named,
  withAddress,
  withLimits,
  withState,
} from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };
const idHelp = "as `weir teams list` shows it: research.search";

interface CreateOptions extends ChosenLimits {
  readonly tenant: string;
  readonly name: string;
  readonly address?: string;
}

export function teamsCommand(): Command {
  const command = new Command("teams").description("groups of users and keys: create, list, update, delete");
  withAddress(
    withLimits(
      command
        .command("create")
        .description("create a team")
        .argument("<id>", "lower-case letters, digits and hyphens; the tenant's id is put before it")
        .option("--tenant <id>", "whose team", "default")
        .option("--name <text>", "for people", ""),
    ),
  )
    .addHelpText("after", "\nExample:\n  weir teams create search --tenant research --requests-per-minute 300")
    .action(async (teamId: string, chosen: CreateOptions) => {
      const limits = chosenLimits(chosen);
      const { team } = await withGateway(chosen.address, ({ teams }) =>
        teams.createTeam(
          {
            tenant: named("tenants/", chosen.tenant),
            teamId,
            displayName: chosen.name,
            ...(limits === undefined ? {} : { limits }),
          },
          options,
        ),
      );
      process.stdout.write(`${team?.name ?? ""} is created\n`);
    });
  withAddress(
    command
      .command("list")
      .description("list teams")
      .option("--tenant <id>", "only of this tenant")
      .option("--json", "one JSON object for each line"),
  )
    .addHelpText("after", "\nExample:\n  weir teams list --tenant research")
    .action(async (chosen: ListOptions & { tenant?: string }) => {
      const found = await withGateway(chosen.address, ({ teams }) =>
        allPages(async (pageToken) => {
          const page = await teams.listTeams({ tenant: named("tenants/", chosen.tenant), pageToken }, options);
          return { rows: page.teams, nextPageToken: page.nextPageToken };
        }),
      );
      writeList(TeamSchema, found, chosen, "team");
    });
  withAddress(
    withLimits(
      withState(
        command
          .command("update")
          .description("change what is said; limits are replaced as a whole")
          .argument("<id>", idHelp)
          .option("--name <text>", "for people"),
      ).option("--no-limits", "no limits of its keys together"),
    ),
  )
    .addHelpText("after", "\nExample:\n  weir teams update research.search --tokens-per-day 5000000")
    .action(async (id: string, chosen: UpdateOptions) => {
      const { team } = await withGateway(chosen.address, ({ teams }) =>
        teams.updateTeam(
          {
            name: named("teams/", id),
            ...chosenChanges(chosen),
          },
          options,
        ),
      );
      process.stdout.write(`${team?.name ?? ""}: ${standingText(team)}\n`);
    });
  withAddress(
    command
      .command("delete")
      .description("delete a team that has no users and no live keys; its id stays taken")
      .argument("<id>", idHelp),
  )
    .addHelpText("after", "\nExample:\n  weir teams delete research.search")
    .action(async (id: string, chosen: { address?: string }) => {
      const name = named("teams/", id);
      await withGateway(chosen.address, ({ teams }) => teams.deleteTeam({ name }, options));
      process.stdout.write(`${name} is deleted\n`);
    });
  return command;
}
