import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped as droppedBy, warning } from "../events.ts";
import { dialectName } from "./faults.ts";

/** The warning for a hint that this dialect cannot express. @param param a path of the canonical request */
export function dropped(param: string): Warning {
  return droppedBy(param, dialectName);
}

/** The warning for what is written in another way than it was asked for. @param param a path of the canonical request */
export function approximated(param: string, text: string): Warning {
  return warning("field_approximated", param, text);
}
