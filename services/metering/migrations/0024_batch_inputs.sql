-- What the input file of a batch names, so that a batch may be refused for it. The default is the same for every row, so that none
-- is written anew.

alter table resources add column batch_input jsonb;
comment on column resources.batch_input is
  'Of files that were checked as the input of a batch: the models that their lines name, each with its first line; null: not checked.';
