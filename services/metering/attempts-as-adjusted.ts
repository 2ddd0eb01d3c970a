/**
 * `(select ...) as attempts`: attempts with what their adjustments bring them to, as the view attempts_as_adjusted has them,
 * but read with the rights of whoever asks: the policies of rows hold. The planner takes it apart: conditions reach the
 * tables.
 */
export const attemptsAsAdjusted = `(
  select a.attempt_id, a.request_id, a.tenant, a.key, a.end_user, a.alias, a.provider, a.model, a.stream, a.outcome,
    a.usage_source, a.audio_input_tokens, a.image_input_tokens, a.audio_output_tokens, a.image_output_tokens,
    a.server_tool_uses, a.start_time, a.end_time, a.first_token_us, a.provider_status, a.provider_reply_id, a.tags,
    a.service_tier,
    ${[
      "input_tokens",
      "cached_input_tokens",
      "cache_write_tokens",
      "cache_write_long_tokens",
      "output_tokens",
      "reasoning_tokens",
      "price_id",
      "pricing",
      "cost_nano_usd",
      "charge_nano_usd",
    ]
      .map((column) => `case when s.attempt_id is null then a.${column} else s.${column} end as ${column}`)
      .join(", ")},
    coalesce(s.number, 0) as adjustments,
    coalesce(s.trued_up, false) as trued_up,
    coalesce(a.charge_max_nano_usd, case when a.charge_nano_usd < a.cost_nano_usd
      and a.outcome not in ('failed', 'rejected') then a.charge_nano_usd end) as charge_max_nano_usd,
    a.cost_nano_usd as original_cost_nano_usd,
    a.charge_nano_usd as original_charge_nano_usd,
    a.input_tokens as original_input_tokens,
    a.output_tokens as original_output_tokens
  from attempts a
  left join attempt_standings s on s.attempt_id = a.attempt_id
) as attempts`;
