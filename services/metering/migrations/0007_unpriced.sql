-- Attempts that had no price when they began get one when a price for their time comes; until then they are found by this.
create index attempts_unpriced on attempts (provider, model, attempt_id) where pricing = 'unpriced';
comment on column attempts.price_id is
  'The price in force when the attempt began, also when it was told only later; empty when there is none.';
