/**
 * SQL that posts attempts to the books: in `cost` what the provider bills goes from the tenant's usage to the provider,
 * in `charge` what the tenant pays goes from the tenant to the revenue. An amount of zero, or one that is not known,
 * moves nothing.
 * @param source has the columns attempt_id, tenant, provider, cost_nano_usd and charge_nano_usd of the attempts
 */
export function postingOf(source: string): string {
  return `
    insert into transfers (attempt_id, book, debit_account, credit_account, amount_nano_usd)
    select attempt_id, 'cost'::book, 'usage/' || tenant, 'provider/' || provider, cost_nano_usd
    from ${source} where cost_nano_usd > 0
    union all
    select attempt_id, 'charge', 'tenant/' || tenant, 'revenue', charge_nano_usd
    from ${source} where charge_nano_usd > 0`;
}

/**
 * SQL that posts adjustments to the books as `postingOf` does attempts; what is taken back goes the other way.
 * @param source has the columns attempt_id, number, tenant, provider, cost_delta and charge_delta of the adjustments
 */
export function postingOfAdjustments(source: string): string {
  return `
    insert into adjustment_transfers (attempt_id, number, book, debit_account, credit_account, amount_nano_usd)
    select attempt_id, number, book, case when amount > 0 then giver else taker end,
      case when amount > 0 then taker else giver end, abs(amount)
    from (
      select attempt_id, number, 'cost'::book as book, 'usage/' || tenant as giver, 'provider/' || provider as taker,
        cost_delta as amount
      from ${source}
      union all
      select attempt_id, number, 'charge', 'tenant/' || tenant, 'revenue', charge_delta from ${source}
    ) as moved where amount <> 0`;
}
