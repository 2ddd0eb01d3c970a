import { toJson } from "@bufbuild/protobuf";
import { TenantSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { Command } from "commander";
import { renderTable } from "../table.ts";
import {
  allPages,
  type ChosenLimits,
  chosenLimits,
  chosenState,
  dayOf,
  idText,
  limitsText,
  named,
  withAddress,
  withLimits,
  withState,
} from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };

interface UpdateOptions extends ChosenLimits {
  readonly name?: string;
  readonly limits?: boolean;
  readonly disable?: true;
  readonly enable?: true;
  readonly address?: string;
}

export function tenantsCommand(): Command {
  const command = new Command("tenants").description("who pays: create, list, update");
  withAddress(
    command
      .command("create")
      .description("create a tenant")
      .argument("<id>", "lower-case letters, digits and hyphens")
      .option("--name <text>", "for people", ""),
  )
    .addHelpText("after", "\nExample:\n  weir tenants create research --name 'Research'")
    .action(async (tenantId: string, chosen: { name: string; address?: string }) => {
      const { tenant } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.createTenant({ tenantId, displayName: chosen.name }, options),
      );
      process.stdout.write(`${tenant?.name ?? ""} is created; \`weir keys create --tenant ${tenantId}\` makes a key\n`);
    });
  withAddress(command.command("list").description("list tenants").option("--json", "one JSON object for each line"))
    .addHelpText("after", "\nExample:\n  weir tenants list")
    .action(async (chosen: { json?: true; address?: string }) => {
      const tenants = await withGateway(chosen.address, ({ accounts }) =>
        allPages(async (pageToken) => {
          const page = await accounts.listTenants({ pageToken }, options);
          return { rows: page.tenants, nextPageToken: page.nextPageToken };
        }),
      );
      if (chosen.json) {
        for (const tenant of tenants) process.stdout.write(`${JSON.stringify(toJson(TenantSchema, tenant))}\n`);
        return;
      }
      process.stdout.write(
        renderTable(tenants, [
          { title: "tenant", text: ({ name }) => idText(name) },
          { title: "name", text: ({ displayName }) => displayName },
          { title: "state", text: ({ disabled }) => (disabled ? "disabled" : "live") },
          { title: "limits of all keys together", text: ({ limits }) => limitsText(limits) },
          { title: "created", text: ({ createTime }) => dayOf(createTime) },
        ]),
      );
    });
  withAddress(
    withLimits(
      withState(
        command
          .command("update")
          .description("change what is said; limits are replaced as a whole")
          .argument("<id>", "as `weir tenants list` shows it")
          .option("--name <text>", "for people"),
      ).option("--no-limits", "no limits of its keys together"),
    ),
  )
    .addHelpText(
      "after",
      "\nExamples:\n  weir tenants update research --requests-per-minute 600 --concurrent-requests 50\n  weir tenants update research --disable",
    )
    .action(async (id: string, chosen: UpdateOptions) => {
      const limits = chosen.limits === false ? {} : chosenLimits(chosen);
      const disabled = chosenState(chosen);
      const { tenant } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.updateTenant(
          {
            name: named("tenants/", id),
            ...(chosen.name === undefined ? {} : { displayName: chosen.name }),
            ...(limits === undefined ? {} : { limits }),
            ...(disabled === undefined ? {} : { disabled }),
          },
          options,
        ),
      );
      process.stdout.write(
        `${tenant?.name ?? ""}: ${tenant?.disabled ? "disabled" : "live"}, limits ${limitsText(tenant?.limits)}\n`,
      );
    });
  return command;
}
