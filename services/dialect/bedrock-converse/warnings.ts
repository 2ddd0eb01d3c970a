import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped as droppedBy } from "../events.ts";
import { dialectName } from "./name.ts";

/** The warning for a hint that this dialect cannot express. @param param a path of the canonical request */
export function dropped(param: string): Warning {
  return droppedBy(param, dialectName);
}
