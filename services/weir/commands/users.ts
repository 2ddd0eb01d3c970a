import { UserSchema } from "@weir/gen/weir/account/v1/user_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { Command, Option } from "commander";
import { chosenChanges, type ListOptions, standingText, type UpdateOptions, writeList } from "./account-list.ts";
import {
  allPages,
  type ChosenLimits,
  chosenLimits,
  idText,
  named,
  readRole,
  roleName,
  roleText,
  withAddress,
  withLimits,
  withState,
} from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };
const idHelp = "as `weir users list` shows it: research.ada";

interface CreateOptions extends ChosenLimits {
  readonly tenant: string;
  readonly name: string;
  readonly email: string;
  readonly role: Role;
  readonly team?: string;
  readonly address?: string;
}

interface UserOptions extends UpdateOptions {
  readonly email?: string;
  readonly role?: Role;
  readonly team?: string | false;
}

export function usersCommand(): Command {
  const command = new Command("users").description(
    "people, and what they are to their tenant: create, list, update, delete",
  );
  withAddress(
    withLimits(
      command
        .command("create")
        .description("create a user; no key of the user is ever more than the user")
        .argument("<id>", "lower-case letters, digits and hyphens; the tenant's id is put before it")
        .option("--tenant <id>", "whose user", "default")
        .option("--name <text>", "for people", "")
        .option("--email <address>", "where to reach the person", "")
        .addOption(new Option("--role <role>", roleText).argParser(readRole).default(Role.MEMBER, "member"))
        .option("--team <id>", "as `weir teams list` shows it"),
    ),
  )
    .addHelpText("after", "\nExample:\n  weir users create ada --tenant research --role admin --email ada@example.org")
    .action(async (userId: string, chosen: CreateOptions) => {
      const limits = chosenLimits(chosen);
      const { user } = await withGateway(chosen.address, ({ users }) =>
        users.createUser(
          {
            tenant: named("tenants/", chosen.tenant),
            userId,
            displayName: chosen.name,
            email: chosen.email,
            role: chosen.role,
            team: named("teams/", chosen.team),
            ...(limits === undefined ? {} : { limits }),
          },
          options,
        ),
      );
      const id = idText(user?.name ?? "");
      process.stdout.write(
        `${user?.name ?? ""} is created; \`weir keys create --tenant ${chosen.tenant} --user ${id}\` makes a key\n`,
      );
    });
  withAddress(
    command
      .command("list")
      .description("list users")
      .option("--tenant <id>", "only of this tenant")
      .option("--team <id>", "only of this team")
      .option("--json", "one JSON object for each line"),
  )
    .addHelpText("after", "\nExample:\n  weir users list --tenant research")
    .action(async (chosen: ListOptions & { tenant?: string; team?: string }) => {
      const found = await withGateway(chosen.address, ({ users }) =>
        allPages(async (pageToken) => {
          const filter = { tenant: named("tenants/", chosen.tenant), team: named("teams/", chosen.team) };
          const page = await users.listUsers({ ...filter, pageToken }, options);
          return { rows: page.users, nextPageToken: page.nextPageToken };
        }),
      );
      writeList(UserSchema, found, chosen, "user", [
        { title: "email", text: ({ email }) => email },
        { title: "role", text: ({ role }) => roleName(role) },
        { title: "team", text: ({ team }) => idText(team) },
      ]);
    });
  withAddress(
    withLimits(
      withState(
        command
          .command("update")
          .description("change what is said; keys of the user go with its role and team")
          .argument("<id>", idHelp)
          .option("--name <text>", "for people")
          .option("--email <address>", "where to reach the person")
          .option("--role <role>", roleText, readRole)
          .option("--team <id>", "as `weir teams list` shows it")
          .option("--no-team", "of no team"),
      ).option("--no-limits", "no limits of its keys together"),
    ),
  )
    .addHelpText(
      "after",
      "\nExamples:\n  weir users update research.ada --role member\n  weir users update research.ada --disable",
    )
    .action(async (id: string, chosen: UserOptions) => {
      const team = chosen.team === false ? "" : chosen.team === undefined ? undefined : named("teams/", chosen.team);
      const { user } = await withGateway(chosen.address, ({ users }) =>
        users.updateUser(
          {
            name: named("users/", id),
            ...chosenChanges(chosen),
            ...(chosen.email === undefined ? {} : { email: chosen.email }),
            ...(chosen.role === undefined ? {} : { role: chosen.role }),
            ...(team === undefined ? {} : { team }),
          },
          options,
        ),
      );
      process.stdout.write(`${user?.name ?? ""}: ${roleName(user?.role ?? Role.MEMBER)}, ${standingText(user)}\n`);
    });
  withAddress(
    command
      .command("delete")
      .description("delete a user and end its keys; its id stays taken, and tokens that name it are refused")
      .argument("<id>", idHelp),
  )
    .addHelpText("after", "\nExample:\n  weir users delete research.ada")
    .action(async (id: string, chosen: { address?: string }) => {
      const name = named("users/", id);
      await withGateway(chosen.address, ({ users }) => users.deleteUser({ name }, options));
      process.stdout.write(`${name} is deleted\n`);
    });
  return command;
}
