import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Command } from "commander";
import { renderTable } from "../table.ts";
import { callTimeoutMs, withGateway } from "./gateway.ts";
import { addressText } from "./keys.ts";

const options = { timeoutMs: callTimeoutMs };

export function tenantsCommand(): Command {
  const command = new Command("tenants").description("who pays: create, list");
  command
    .command("create")
    .description("create a tenant")
    .argument("<id>", "lower-case letters, digits and hyphens")
    .option("--name <text>", "for people", "")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir tenants create research --name 'Research'")
    .action(async (tenantId: string, chosen: { name: string; address?: string }) => {
      const { tenant } = await withGateway(chosen.address, ({ accounts }) =>
        accounts.createTenant({ tenantId, displayName: chosen.name }, options),
      );
      process.stdout.write(`${tenant?.name ?? ""} is created; \`weir keys create --tenant ${tenantId}\` makes a key\n`);
    });
  command
    .command("list")
    .description("list tenants")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir tenants list")
    .action(async (chosen: { address?: string }) => {
      const { tenants } = await withGateway(chosen.address, ({ accounts }) => accounts.listTenants({}, options));
      process.stdout.write(
        renderTable(tenants, [
          { title: "tenant", text: (tenant) => tenant.name.replace("tenants/", "") },
          { title: "name", text: (tenant) => tenant.displayName },
          {
            title: "created",
            text: ({ createTime }) => (createTime ? timestampDate(createTime).toISOString().slice(0, 10) : ""),
          },
        ]),
      );
    });
  return command;
}
