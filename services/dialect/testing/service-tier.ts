import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { tierOfUsage } from "../service-tier.ts";

/** A drawn reply in which usage says the tier that its start says, as the replies of providers do. */
export function servedInItsTier(events: GenerateEvent[]): GenerateEvent[] {
  const start = events.find(({ kind }) => kind.case === "start")?.kind;
  const tier = tierOfUsage(start?.case === "start" ? start.value.serviceTier : "");
  for (const { kind } of events) {
    if (kind.case === "end" && kind.value.usage !== undefined && tier !== undefined)
      kind.value.usage.serviceTier = tier;
  }
  return events;
}
