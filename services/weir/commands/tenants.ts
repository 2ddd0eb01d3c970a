import { TenantSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { Command } from "commander";
import { chosenChanges, type ListOptions, standingText, type UpdateOptions, writeList } from "./account-list.ts";
import { allPages, named, withAddress, withLimits, withState } from "./account-options.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };

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
    .action(async (chosen: ListOptions) => {
      const tenants = await withGateway(chosen.address, ({ accounts }) =>
        allPages(async (pageToken) => {
          const page = await accounts.listTenants({ pageToken }, options);
          return { rows: page.tenants, nextPageToken: page.nextPageToken };
        }),
      );
      writeList(TenantSchema, tenants, chosen, "tenant");
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
      const { tenant } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.updateTenant(
          {
            name: named("tenants/", id),
            ...chosenChanges(chosen),
          },
          options,
        ),
      );
      process.stdout.write(`${tenant?.name ?? ""}: ${standingText(tenant)}\n`);
    });
  return command;
}
