/** What a view is asked for to learn how fast it answers. */
export interface ViewQuestion {
  readonly view: string;
  /** One day by the view's own column of time; the ids of a day, where it has none; or everything. */
  readonly asked: "day" | "ids" | "all";
  /** @param day UTC day, `2026-10-14` */
  where(day: string): string;
}

const nextDay = (day: string): string => new Date(Date.parse(day) + 86_400_000).toISOString().slice(0, 10);

const byDay = (view: string): ViewQuestion => ({ view, asked: "day", where: (day) => `day = '${day}'` });
const bySpan = (view: string, column: string, zone: string): ViewQuestion => ({
  view,
  asked: "day",
  where: (day) => `${column} >= '${day} 00:00${zone}' and ${column} < '${nextDay(day)} 00:00${zone}'`,
});
const byIds = (view: string): ViewQuestion => ({
  view,
  asked: "ids",
  where: (day) =>
    `attempt_id >= first_attempt_id('${day} 00:00Z') and attempt_id < first_attempt_id('${nextDay(day)} 00:00Z')`,
});
const whole = (view: string): ViewQuestion => ({ view, asked: "all", where: () => "true" });

/** One for each view that docs/analysts.md lists. */
export const viewQuestions: readonly ViewQuestion[] = [
  bySpan("cost_by_hour", "hour", ""),
  byDay("cost_by_day"),
  byDay("cost_by_tenant"),
  byDay("cost_by_key"),
  byDay("cost_by_user"),
  byDay("cost_by_alias"),
  byDay("cost_by_provider"),
  byDay("cost_by_model"),
  byDay("cost_by_tag"),
  byDay("unit_costs"),
  byDay("cache_savings"),
  byDay("latency_and_cost"),
  byDay("requests"),
  byDay("client_requests"),
  bySpan("client_requests_by_hour", "hour", ""),
  byDay("attempt_details"),
  byDay("attempt_adjustments"),
  bySpan("attempts_as_adjusted", "start_time", "Z"),
  byDay("attempts_estimated"),
  whole("attempts_conflicting"),
  whole("budget_burn"),
  whole("lost_leases"),
  byIds("entries"),
  whole("balances"),
  byDay("cost_retired"),
];
