import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { BatchBound, CallHead, NewBatchModel } from "@weir/gen/weir/passthrough/v1/forward_pb";
import { WeirError } from "@weir/kit/weir-error";
import { coversBatches } from "@weir/price/charge";
import { batchPriceOf, batchTier, type PriceList, ratesFor } from "@weir/price/price";
import { amountOf, highestRates } from "../budgets/amounts.ts";
import type { BatchExpense } from "../budgets/batch-hold.ts";
import type { Budgets } from "../budgets/budgets.ts";
import type { ProviderSettings } from "../provider-set.ts";

/** Endpoints that no vendor bills for. */
const freeEndpoints: ReadonlySet<string> = new Set(["/moderations"]);

/** Whether a call makes a batch. */
export function makesBatch({ endpoint, method, path }: CallHead): boolean {
  return endpoint === "batches" && method === "POST" && path === "/batches";
}

/** Whether a call makes a tuning job, or has one go on. */
export function tunesModel({ endpoint, method, path }: CallHead): boolean {
  return endpoint === "fine_tuning" && method === "POST" && (path === "/fine_tuning/jobs" || path.endsWith("/resume"));
}

export interface NewBatchDeps {
  readonly budgets: Pick<Budgets, "about">;
  readonly prices: () => PriceList;
}

/**
 * What a batch may cost, model by model, and the budgets that are about it.
 * @param atMs when it is made
 * @throws WeirError MODEL_UNPRICED by the rules for chats, by a price that says nothing of batches, too; INVALID_REQUEST when a budget is about it and nobody
 *   knows how much it may answer with; STORE_UNAVAILABLE
 */
export async function expensesOf(
  { budgets, prices }: NewBatchDeps,
  { batch }: CallHead,
  provider: ProviderSettings,
  principal: Principal,
  atMs: number,
): Promise<BatchExpense[]> {
  const about = (alias: string, model: string) =>
    budgets.about({ principal, alias, target: { provider: provider.id, model } });
  if (batch === undefined) {
    if ((await about("", "batches")).length > 0) throw unread();
    return [];
  }
  if (freeEndpoints.has(batch.endpoint)) return [];
  const list = prices();
  return Promise.all(
    batch.models.map(async (asked) => {
      const { model, alias } = asked;
      const accounts = await about(alias, model);
      const price = batchPriceOf((target) => list.find(target, atMs), { provider: provider.id, model });
      if (price === undefined || !coversBatches(price)) {
        if (accounts.length > 0 || !asked.allowUnpriced)
          throw unpriced(alias, price !== undefined, accounts.length > 0);
        return { model, accounts: [], amount: 0 };
      }
      if (accounts.length === 0) return { model, accounts, amount: 0 };
      const rates = highestRates(ratesFor(price, batchTier, 0));
      if (rates.input === 0 && rates.output === 0) return { model, accounts: [], amount: 0 };
      const { inputTokens, outputTokens } = mostOf(asked, provider);
      return { model, accounts, amount: amountOf(rates, inputTokens, outputTokens) };
    }),
  );
}

/** The most that requests to a model may use. */
function mostOf({ model, bound }: NewBatchModel, { capabilities }: ProviderSettings) {
  if (bound === undefined) throw unread();
  const { inputTokens, outputTokens, openChoices } = bound;
  const longest = capabilities.known(model).outputTokens;
  if (openChoices > 0n && longest === undefined) throw unbounded(bound);
  return {
    inputTokens: Number(inputTokens),
    outputTokens: Number(outputTokens) + Number(openChoices) * (longest ?? 0),
  };
}

/** What a tuning job costs is known to nobody before it has ended, and not to the ledger then. */
export function untunable(): WeirError {
  return new WeirError(ErrorReason.MODEL_UNPRICED, {
    text: "A budget is about this call, and nobody knows beforehand what tuning costs; do it with a key that no budget is about.",
  });
}

function unread(): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: "A budget is about this batch, and its input file was not looked at for what it may cost; upload it again.",
    metadata: { param: "input_file_id" },
  });
}

function unbounded({ openLine }: BatchBound): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text:
      `A budget is about this batch, and line ${openLine} of its input file does not say how long its answer may be: name ` +
      "`max_completion_tokens` (`max_output_tokens` of responses, `max_tokens` of completions).",
    metadata: { param: "input_file_id" },
  });
}

function unpriced(alias: string, isPriced: boolean, isBudgeted: boolean): WeirError {
  const what = isPriced ? "the model's price says nothing of batches" : "the model has no price";
  const remedy = `give it one with the tier \`batch\` under \`prices\`${isBudgeted ? "" : ", or set `allow_unpriced` on its alias"}`;
  return new WeirError(ErrorReason.MODEL_UNPRICED, {
    text: `${isBudgeted ? "A budget is about this batch, and " : "What this batch costs is not known: "}${what}; ${remedy}.`,
    metadata: { model: alias },
  });
}
