-- Which stored responses hold an output item: clients refer to items by their ids. Items of responses from before are not there.

create table response_items (
  tenant text not null,
  item_id text not null check (length(item_id) between 1 and 256),
  response_id text not null,
  primary key (tenant, item_id, response_id),
  foreign key (tenant, response_id) references responses on delete cascade
);
comment on table response_items is 'Output items of stored responses, by the ids by which clients refer to them.';
create index response_items_by_response on response_items (tenant, response_id);
call secure_rows('response_items', 'tenant', false);
