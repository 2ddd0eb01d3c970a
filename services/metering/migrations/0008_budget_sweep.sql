-- What lets the sweep find windows that ended long ago, and the leases of a window that goes.
create index budget_windows_by_start on budget_windows (start_time) where start_time > '-infinity';
create index budget_leases_by_window on budget_leases (window_id);
comment on table budget_windows is
  'How a budget stands. No lease is granted unless spent and leased together stay within the limit. A window goes when it, or its budget, ended 400 days ago or more.';
comment on column budget_leases.ended is
  'Its time is over and not all of it was accounted for: a charge may still come, late. A lease of which nothing is left is deleted instead.';
