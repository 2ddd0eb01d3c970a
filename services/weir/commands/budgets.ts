import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type Budget,
  type BudgetScope,
  type BudgetStanding,
  type BudgetWindow,
  WindowKind,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { nanoUsdFromText } from "@weir/price/decimal";
import { Command, InvalidArgumentError, Option } from "commander";
import { OperatorError } from "../operator-error.ts";
import { parseMoment } from "../range.ts";
import { renderTable, usdText } from "../table.ts";
import { allPages } from "./account-options.ts";
import { addressText, callTimeoutMs, withGateway } from "./gateway.ts";

const options = { timeoutMs: callTimeoutMs };

interface CreateOptions extends Partial<Record<ScopeField, string>> {
  readonly limit: bigint;
  readonly window?: WindowChoice;
  readonly soft?: number[];
  readonly name: string;
  readonly address?: string;
}

interface WindowChoice {
  readonly kind: WindowKind;
  readonly spanMs?: number;
}

const scopeFields = ["tenant", "key", "user", "tag", "alias", "model"] as const;
type ScopeField = (typeof scopeFields)[number];

const windowDefault: WindowChoice = { kind: WindowKind.MONTH };

const kinds: Readonly<Record<string, WindowKind>> = {
  total: WindowKind.TOTAL,
  hour: WindowKind.HOUR,
  day: WindowKind.DAY,
  week: WindowKind.WEEK,
  month: WindowKind.MONTH,
};

const createExamples = `
Examples:
  weir budgets create research --limit 500 --tenant research --soft 50 80 95
  weir budgets create per-user --limit 2.50 --window day --tenant research --user '*'
  weir budgets create nightly --limit 20 --window 24h --tag job=nightly
  weir budgets create gpt --limit 1000 --window total --model openai/gpt-4o

Of several budgets that are about a call, each must cover it.`;

export function budgetsCommand(): Command {
  const command = new Command("budgets").description("how much may be spent: create, list, update, delete");
  command
    .command("create")
    .description("create a budget; it holds for calls that begin half a second later")
    .argument("<id>", "lower-case letters, digits and hyphens")
    .requiredOption("--limit <usd>", "the most that may be spent in a window, in USD", usd)
    .option("--window <span>", "of UTC: hour, day, week, month, total; or the last 24h, 7d; default: month", windowOf)
    .option("--tenant <id>", "of this tenant; '*': each of its own; default: all together")
    .option("--key <id>", "of this key; '*': each of its own")
    .option("--user <name>", "of this end user; '*': each of its own")
    .option("--tag <tag>", "of calls with this tag: team=search")
    .option("--alias <name>", "of this alias; '*': each of its own")
    .option("--model <model>", "of this provider and model: openai/gpt-4o; '*': each of its own")
    .option("--soft <percent...>", "warn when so much of the limit is spent", percents)
    .option("--name <text>", "for people", "")
    .option("--address <address>", addressText)
    .addHelpText("after", createExamples)
    .action(async (budgetId: string, chosen: CreateOptions) => {
      const { kind, spanMs } = chosen.window ?? windowDefault;
      const { budget } = await withGateway(chosen.address, ({ budgets }) =>
        budgets.createBudget(
          {
            budgetId,
            displayName: chosen.name,
            limitNanoUsd: chosen.limit,
            window: { kind, ...(spanMs === undefined ? {} : { span: durationFromMs(spanMs) }) },
            scope: Object.fromEntries(scopeFields.map((field) => [field, chosen[field] ?? ""])),
            softPercents: chosen.soft ?? [],
          },
          options,
        ),
      );
      process.stdout.write(`${budget?.name ?? ""}: ${usdText(chosen.limit)} USD, ${windowText(budget?.window)}\n`);
    });
  command
    .command("list")
    .description("list budgets, and how they stand")
    .option("--tenant <id>", "only those of this tenant")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir budgets list --tenant research")
    .action(async (chosen: { tenant?: string; address?: string }) => {
      const tenant = chosen.tenant === undefined ? "" : `tenants/${chosen.tenant}`;
      const found = await withGateway(chosen.address, ({ budgets }) =>
        allPages(async (pageToken) => {
          const page = await budgets.listBudgets({ tenant, pageToken }, options);
          return { rows: page.budgets, nextPageToken: page.nextPageToken };
        }),
      );
      const rows = found.flatMap((budget): Row[] => {
        const { standings } = budget;
        return standings.length === 0 ? [{ budget }] : standings.map((standing) => ({ budget, standing }));
      });
      process.stdout.write(
        renderTable(rows, [
          { title: "budget", text: ({ budget }) => budget.name.replace("budgets/", "") },
          { title: "of", text: ({ budget }) => scopeText(budget.scope) },
          { title: "subject", text: ({ standing }) => standing?.subject.replaceAll("\n", " ") ?? "" },
          { title: "window", text: ({ budget }) => windowText(budget.window) },
          { title: "limit USD", text: ({ budget }) => usdText(budget.limitNanoUsd), align: "right" },
          { title: "spent USD", text: ({ standing }) => usdText(standing?.spentNanoUsd ?? 0n), align: "right" },
          { title: "held USD", text: ({ standing }) => usdText(standing?.leasedNanoUsd ?? 0n), align: "right" },
          { title: "state", text: ({ budget }) => (budget.disabled ? "disabled" : "enforced") },
        ]),
      );
    });
  command
    .command("update")
    .description("change a budget's limit, soft limits or state")
    .argument("<id>", "id of the budget")
    .option("--limit <usd>", "the new limit, in USD", usd)
    .option("--soft <percent...>", "the new soft limits", percents)
    .option("--no-soft", "no soft limits any more")
    .option("--disable", "do not enforce it for now")
    .addOption(new Option("--enable", "enforce it again").conflicts("disable"))
    .option("--address <address>", addressText)
    .addHelpText(
      "after",
      "\nExamples:\n  weir budgets update research --limit 750\n  weir budgets update research --disable",
    )
    .action(
      async (
        id: string,
        chosen: { limit?: bigint; soft?: number[] | boolean; disable?: true; enable?: true; address?: string },
      ) => {
        const { soft, limit } = chosen;
        if (limit === undefined && soft === undefined && !chosen.disable && !chosen.enable) {
          throw new OperatorError("say what is to change: --limit, --soft, --no-soft, --disable or --enable");
        }
        await withGateway(chosen.address, ({ budgets }) =>
          budgets.updateBudget(
            {
              name: nameOf(id),
              ...(limit === undefined ? {} : { limitNanoUsd: limit }),
              ...(Array.isArray(soft) ? { softLimits: { percents: soft } } : {}),
              ...(soft === false ? { softLimits: {} } : {}),
              ...(chosen.disable || chosen.enable ? { disabled: chosen.disable === true } : {}),
            },
            options,
          ),
        );
        process.stdout.write(`${nameOf(id)} is changed\n`);
      },
    );
  command
    .command("delete")
    .description("end a budget")
    .argument("<id>", "id of the budget, as `weir budgets list` shows it")
    .option("--address <address>", addressText)
    .addHelpText("after", "\nExample:\n  weir budgets delete research")
    .action(async (id: string, chosen: { address?: string }) => {
      await withGateway(chosen.address, ({ budgets }) => budgets.deleteBudget({ name: nameOf(id) }, options));
      process.stdout.write(`${nameOf(id)} is deleted\n`);
    });
  return command;
}

interface Row {
  readonly budget: Budget;
  readonly standing?: BudgetStanding;
}

function nameOf(id: string): string {
  return `budgets/${id.replace(/^budgets\//, "")}`;
}

function scopeText(scope: BudgetScope | undefined): string {
  const fields = scopeFields.flatMap((field) => {
    const value = scope?.[field] ?? "";
    return value === "" ? [] : [`${field} ${value}`];
  });
  return fields.length === 0 ? "everything" : fields.join(", ");
}

function windowText(window: BudgetWindow | undefined): string {
  if (window?.kind === WindowKind.ROLLING && window.span !== undefined) {
    return `last ${durationMs(window.span) / 3_600_000} h`;
  }
  return Object.keys(kinds).find((word) => kinds[word] === window?.kind) ?? "";
}

function usd(text: string): bigint {
  try {
    return nanoUsdFromText(text);
  } catch {
    throw new InvalidArgumentError("expected USD without a sign, such as 500 or 2.50; there is no other currency");
  }
}

function windowOf(text: string): WindowChoice {
  const kind = kinds[text];
  if (kind !== undefined) return { kind };
  // A span, told as a moment before 1970.
  const moment = parseMoment(text, 0);
  if (moment === undefined || moment >= 0) {
    throw new InvalidArgumentError(`expected ${Object.keys(kinds).join(", ")}, or a span such as 24h or 7d`);
  }
  return { kind: WindowKind.ROLLING, spanMs: -moment };
}

function percents(text: string, before: readonly number[] | boolean | undefined): number[] {
  const percent = Number(text);
  if (!/^\d{1,3}$/.test(text) || percent < 1 || percent > 100) throw new InvalidArgumentError("expected 1 to 100");
  return [...(Array.isArray(before) ? (before as number[]) : []), percent];
}
