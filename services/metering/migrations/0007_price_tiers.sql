-- Prices with rates for service tiers, for several lengths of input, for sound and pictures, and with fees for tools; and
-- the tier that an attempt was served in.

alter table prices
  add column other_rates jsonb check (jsonb_typeof(other_rates) = 'object'),
  add column tiers jsonb check (jsonb_typeof(tiers) = 'array'),
  add check (long_context is null or tiers is null);
comment on column prices.long_context is
  'Rates for attempts whose input is longer than input_tokens_above, under the names of the columns, of a price that has no other tier; null: see tiers.';
comment on column prices.other_rates is
  'Rates of sound and pictures where they differ from those of other tokens, and tool_nano_usd_per_thousand: fees for a thousand uses by tool; null: none.';
comment on column prices.tiers is
  'A list of rates, each for a service_tier (empty: the standard one) and for input longer than input_tokens_above; null: none, see long_context.';

alter table attempts add column service_tier text;
comment on column attempts.service_tier is
  'The tier that the provider says it served the attempt in; null: the standard one, or not said.';
