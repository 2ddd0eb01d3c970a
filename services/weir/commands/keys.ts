import { create, toJson } from "@bufbuild/protobuf";
import { durationFromMs, timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Key, type KeyScope, KeySchema, KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { Command, InvalidArgumentError, Option } from "commander";
import { parseMoment } from "../range.ts";
import { renderTable } from "../table.ts";
import {
  allPages,
  type ChosenLimits,
  chosenLimits,
  dayOf,
  idText,
  limitsText,
  named,
  readRole,
  roleName,
  roleText,
  withAddress,
  withLimits,
} from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };
const idHelp = "id of the key, as `weir keys list` shows it";

interface ScopeOptions extends ChosenLimits {
  readonly model?: string[];
  readonly endpoint?: string[];
  readonly collection?: string[];
  readonly network?: string[];
}

interface CreateOptions extends ScopeOptions {
  readonly address?: string;
  readonly tenant: string;
  readonly team?: string;
  readonly user?: string;
  readonly name: string;
  readonly role: Role;
  readonly everyTenant?: true;
  readonly expires?: number;
}

interface UpdateOptions extends ScopeOptions {
  readonly address?: string;
  readonly name?: string;
  readonly scope?: boolean;
  readonly expires?: number | false;
}

export function keysCommand(): Command {
  const command = new Command("keys").description("API keys: create, list, update, rotate, revoke");
  withAddress(
    withScope(
      command
        .command("create")
        .description("create a key and print it; it is shown only here")
        .option("--tenant <id>", "who pays", "default")
        .option("--team <id>", "as `weir teams list` shows it; default: the user's")
        .option("--user <id>", "as `weir users list` shows it")
        .option("--name <text>", "for people", "")
        .addOption(new Option("--role <role>", roleText).argParser(readRole).default(Role.MEMBER, "member"))
        .option("--every-tenant", "the role holds in every tenant: for those who run the gateway")
        .option("--expires <time>", "when it ends: 2027-01-01 or 2027-01-01T00:00:00Z; default: never", futureTime),
    ),
  )
    .addHelpText(
      "after",
      `
Examples:
  weir keys create --tenant default --name ci --model 'gpt-4o*' --requests-per-minute 60
  weir keys create --tenant research --role admin --endpoint keys users teams
  weir keys create --tenant research --endpoint vector_stores --collection vs_abc123
  weir keys create --tenant research --network 10.0.0.0/8 --expires 2027-01-01`,
    )
    .action(async (chosen: CreateOptions) => {
      const { key, secret } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.createKey(
          {
            tenant: named("tenants/", chosen.tenant),
            team: named("teams/", chosen.team),
            user: named("users/", chosen.user),
            displayName: chosen.name,
            role: chosen.role,
            everyTenant: chosen.everyTenant ?? false,
            scope: chosenScope(chosen) ?? create(KeyScopeSchema),
            ...(chosen.expires === undefined ? {} : { expireTime: timestampFromMs(chosen.expires) }),
          },
          options,
        ),
      );
      printSecret(key, secret);
    });
  withAddress(
    command
      .command("list")
      .description("list keys, without their secrets, newest first")
      .option("--tenant <id>", "only of this tenant")
      .option("--team <id>", "only of this team")
      .option("--user <id>", "only of this user")
      .option("--json", "one JSON object for each line"),
  )
    .addHelpText("after", "\nExample:\n  weir keys list --tenant default")
    .action(async (chosen: { tenant?: string; team?: string; user?: string; json?: true; address?: string }) => {
      const filter = {
        tenant: named("tenants/", chosen.tenant),
        team: named("teams/", chosen.team),
        user: named("users/", chosen.user),
      };
      const found = await withGateway(chosen.address, ({ accounts }) =>
        allPages(async (pageToken) => {
          const page = await accounts.listKeys({ ...filter, pageToken }, options);
          return { rows: page.keys, nextPageToken: page.nextPageToken };
        }),
      );
      if (chosen.json) {
        for (const key of found) process.stdout.write(`${JSON.stringify(toJson(KeySchema, key))}\n`);
        return;
      }
      process.stdout.write(
        renderTable(found, [
          { title: "key", text: ({ name }) => idText(name) },
          { title: "tenant", text: ({ tenant }) => idText(tenant) },
          { title: "name", text: ({ displayName }) => displayName },
          { title: "role", text: ({ role, everyTenant }) => `${roleName(role)}${everyTenant ? " everywhere" : ""}` },
          { title: "belongs to", text: ({ team, user }) => [team, user].filter(Boolean).map(idText).join(", ") },
          { title: "state", text: stateOf },
          { title: "models", text: ({ scope }) => scope?.models.join(" ") || "all" },
          { title: "limits", text: ({ scope }) => limitsText(asLimits(scope)) },
          { title: "created", text: ({ createTime }) => dayOf(createTime) },
        ]),
      );
    });
  withAddress(
    withScope(
      command
        .command("update")
        .description("change what is said; a scope is replaced as a whole")
        .argument("<key>", idHelp)
        .option("--name <text>", "for people")
        .option("--no-scope", "it may do whatever its role allows, at the edge's rates")
        .option("--expires <time>", "when it ends", futureTime)
        .option("--no-expires", "never by itself"),
    ),
  )
    .addHelpText("after", "\nExample:\n  weir keys update abcdefgh234567ab --model 'gpt-4o*' --requests-per-minute 120")
    .action(async (id: string, chosen: UpdateOptions) => {
      const scope = chosen.scope === false ? create(KeyScopeSchema) : chosenScope(chosen);
      const paths = [
        ...(chosen.name === undefined ? [] : ["display_name"]),
        ...(scope === undefined ? [] : ["scope"]),
        ...(chosen.expires === undefined ? [] : ["expire_time"]),
      ];
      const { key } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.updateKey(
          {
            name: named("keys/", id),
            ...(chosen.name === undefined ? {} : { displayName: chosen.name }),
            ...(scope === undefined ? {} : { scope }),
            ...(typeof chosen.expires === "number" ? { expireTime: timestampFromMs(chosen.expires) } : {}),
            updateMask: { paths },
          },
          options,
        ),
      );
      process.stdout.write(`${key?.name ?? ""}: ${key === undefined ? "" : stateOf(key)}\n`);
    });
  withAddress(
    command
      .command("rotate")
      .description("make a key in the place of another, print it, and end the other after a time of grace")
      .argument("<key>", idHelp)
      .addOption(
        new Option("--grace <span>", "how long both are good: 0, 30m, 24h, 7d; at most 90d")
          .argParser(spanMs)
          .default(3_600_000, "1h"),
      ),
  )
    .addHelpText("after", "\nExample:\n  weir keys rotate abcdefgh234567ab --grace 24h")
    .action(async (id: string, chosen: { grace: number; address?: string }) => {
      const { key, secret, replaced } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.rotateKey({ name: named("keys/", id), grace: durationFromMs(chosen.grace) }, options),
      );
      const end = replaced?.expireTime === undefined ? "now" : timestampDate(replaced.expireTime).toISOString();
      process.stderr.write(`${replaced?.name ?? ""} ends ${replaced?.revokeTime === undefined ? end : "now"}\n`);
      printSecret(key, secret);
    });
  withAddress(
    command.command("revoke").description("end a key; within a second no edge accepts it").argument("<key>", idHelp),
  )
    .addHelpText("after", "\nExample:\n  weir keys revoke abcdefgh234567ab")
    .action(async (id: string, chosen: { address?: string }) => {
      const name = named("keys/", id);
      const { key } = await withGateway(chosen.address, ({ accounts }) => accounts.revokeKey({ name }, options));
      process.stdout.write(`${key?.name ?? name} is revoked\n`);
    });
  return command;
}

function withScope(command: Command): Command {
  return withLimits(
    command
      .option("--model <alias...>", "what it may call: names, or prefixes ended by *; default: everything")
      .option("--endpoint <name...>", "what it may use: chat, costs, keys and so on; default: whatever its role allows")
      .option(
        "--collection <id...>",
        "vector stores it may reach: ids, or prefixes ended by *; default: all of its tenant",
      )
      .option("--network <cidr...>", "where it may be used from: 10.0.0.0/8; default: anywhere"),
  );
}

/** Undefined: nothing of a scope was chosen. */
function chosenScope(chosen: ScopeOptions): KeyScope | undefined {
  const { model, endpoint, collection, network } = chosen;
  const limits = chosenLimits(chosen);
  const lists = [model, endpoint, collection, network];
  if (limits === undefined && lists.every((list) => list === undefined)) return undefined;
  return create(KeyScopeSchema, {
    models: model ?? [],
    endpoints: endpoint ?? [],
    collections: collection ?? [],
    networks: network ?? [],
    ...limits,
  });
}

/** A key's limits stand in its scope, under the same names. */
function asLimits(scope: KeyScope | undefined) {
  if (scope === undefined) return undefined;
  const { requestsPerMinute, tokensPerMinute, requestsPerDay, tokensPerDay, concurrentRequests } = scope;
  return {
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
    ...(requestsPerDay === undefined ? {} : { requestsPerDay }),
    ...(tokensPerDay === undefined ? {} : { tokensPerDay }),
    ...(concurrentRequests === undefined ? {} : { concurrentRequests }),
  };
}

function printSecret(key: Key | undefined, secret: string): void {
  process.stderr.write(`${key?.name ?? ""} of ${key?.tenant ?? ""}; keep the secret, it is not shown again:\n`);
  process.stdout.write(`${secret}\n`);
}

function stateOf(key: Key): string {
  if (key.revokeTime !== undefined) return `revoked ${dayOf(key.revokeTime)}`;
  if (key.expireTime === undefined) return "live";
  return timestampDate(key.expireTime).getTime() > Date.now() ? `live until ${dayOf(key.expireTime)}` : "expired";
}

function spanMs(text: string): number {
  if (text === "0") return 0;
  const moment = parseMoment(text, 0);
  if (moment === undefined || moment >= 0)
    throw new InvalidArgumentError("expected 0, or a span such as 30m, 24h or 7d");
  return -moment;
}

function futureTime(text: string): number {
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new InvalidArgumentError("expected a day such as 2027-01-01, or a time");
  if (time <= Date.now()) throw new InvalidArgumentError("expected a time that is still to come");
  return time;
}
