import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Key, KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { Command, InvalidArgumentError } from "commander";
import { renderTable } from "../table.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };

interface CreateOptions {
  readonly address?: string;
  readonly tenant: string;
  readonly name: string;
  readonly model?: string[];
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly expires?: number;
}

export function keysCommand(): Command {
  const command = new Command("keys").description("API keys: create, list, revoke");
  command
    .command("create")
    .description("create a key and print it; it is shown only here")
    .option("--tenant <id>", "who pays", "default")
    .option("--name <text>", "for people", "")
    .option("--model <alias...>", "what it may call: names, or prefixes ended by *; default: everything")
    .option("--requests-per-minute <count>", "default: the edge's", wholeNumber)
    .option("--tokens-per-minute <count>", "input and output together; default: the edge's", wholeNumber)
    .option("--expires <time>", "when it ends: 2027-01-01 or 2027-01-01T00:00:00Z; default: never", futureTime)
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      "\nExample:\n  weir keys create --tenant default --name ci --model 'gpt-4o*' --requests-per-minute 60",
    )
    .action(async (chosen: CreateOptions) => {
      const { key, secret } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.createKey(
          {
            tenant: `tenants/${chosen.tenant}`,
            displayName: chosen.name,
            scope: create(KeyScopeSchema, {
              models: chosen.model ?? [],
              ...(chosen.requestsPerMinute === undefined ? {} : { requestsPerMinute: chosen.requestsPerMinute }),
              ...(chosen.tokensPerMinute === undefined ? {} : { tokensPerMinute: chosen.tokensPerMinute }),
            }),
            ...(chosen.expires === undefined ? {} : { expireTime: timestampFromMs(chosen.expires) }),
          },
          options,
        ),
      );
      process.stderr.write(`${key?.name ?? ""} of ${key?.tenant ?? ""}; keep the secret, it is not shown again:\n`);
      process.stdout.write(`${secret}\n`);
    });
  command
    .command("list")
    .description("list keys, without their secrets, newest first")
    .option("--tenant <id>", "only of this tenant")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir keys list --tenant default")
    .action(async (chosen: { tenant?: string; address?: string }) => {
      const tenant = chosen.tenant === undefined ? "" : `tenants/${chosen.tenant}`;
      const { keys } = await withGateway(chosen.address, ({ accounts }) => accounts.listKeys({ tenant }, options));
      process.stdout.write(
        renderTable(keys, [
          { title: "key", text: (key) => key.name.replace("keys/", "") },
          { title: "tenant", text: (key) => key.tenant.replace("tenants/", "") },
          { title: "name", text: (key) => key.displayName },
          { title: "state", text: stateOf },
          { title: "models", text: (key) => key.scope?.models.join(" ") || "all" },
          { title: "requests/min", text: (key) => String(key.scope?.requestsPerMinute ?? "-"), align: "right" },
          { title: "tokens/min", text: (key) => String(key.scope?.tokensPerMinute ?? "-"), align: "right" },
          { title: "created", text: (key) => dayOf(key.createTime) },
        ]),
      );
    });
  command
    .command("revoke")
    .description("end a key; within a second no edge accepts it")
    .argument("<key>", "id of the key, as `weir keys list` shows it")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir keys revoke abcdefgh234567ab")
    .action(async (id: string, chosen: { address?: string }) => {
      const name = `keys/${id.replace(/^keys\//, "")}`;
      const { key } = await withGateway(chosen.address, ({ accounts }) => accounts.revokeKey({ name }, options));
      process.stdout.write(`${key?.name ?? name} is revoked\n`);
    });
  return command;
}

export const addressText = "metering of the gateway: host:port or unix:/path; default: the one in the data folder";

function stateOf(key: Key): string {
  if (key.revokeTime !== undefined) return `revoked ${dayOf(key.revokeTime)}`;
  if (key.expireTime === undefined) return "live";
  return timestampDate(key.expireTime).getTime() > Date.now() ? `live until ${dayOf(key.expireTime)}` : "expired";
}

function dayOf(time: Timestamp | undefined): string {
  return time === undefined ? "" : timestampDate(time).toISOString().slice(0, 10);
}

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d{1,9}$/.test(text) || number < 1) throw new InvalidArgumentError("expected a whole number from 1");
  return number;
}

function futureTime(text: string): number {
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new InvalidArgumentError("expected a day such as 2027-01-01, or a time");
  if (time <= Date.now()) throw new InvalidArgumentError("expected a time that is still to come");
  return time;
}
