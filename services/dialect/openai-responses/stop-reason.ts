import { type ChoiceEnd, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { choiceEnd } from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";

/** Words of `incomplete_details.reason`. */
const incompleteReasons: ReadonlyMap<string, StopReason> = new Map([
  ["max_output_tokens", StopReason.LENGTH],
  ["max_messages", StopReason.LENGTH],
  ["content_filter", StopReason.CONTENT_FILTER],
  ["steered", StopReason.PAUSED],
]);

/** Why a Response ended; its own words are the reason, or the status where there is none. */
export function readStop(response: JsonObject, hasToolCalls: boolean): ChoiceEnd {
  if (response["status"] !== "incomplete") {
    return choiceEnd(0, hasToolCalls ? StopReason.TOOL_CALLS : StopReason.END, "completed");
  }
  const details = response["incomplete_details"];
  const reason = isObject(details) ? details["reason"] : undefined;
  if (typeof reason !== "string") return choiceEnd(0, StopReason.UNSPECIFIED, "incomplete");
  return choiceEnd(0, incompleteReasons.get(reason) ?? StopReason.UNSPECIFIED, reason);
}

/** How a Response says why it ended. */
export interface StopWriting {
  readonly status: "completed" | "incomplete";
  /** `incomplete_details.reason`; undefined when no word of the dialect fits. */
  readonly reason: string | undefined;
}

/** This dialect's own words are written back as they were. */
export function writeStop(end: ChoiceEnd | undefined): StopWriting {
  const reason = end?.reason ?? StopReason.UNSPECIFIED;
  const raw = end?.rawReason ?? "";
  if (raw !== "" && incompleteReasons.get(raw) === reason) return { status: "incomplete", reason: raw };
  switch (reason) {
    case StopReason.LENGTH:
    case StopReason.CONTEXT_FULL:
      return { status: "incomplete", reason: "max_output_tokens" };
    case StopReason.CONTENT_FILTER:
      return { status: "incomplete", reason: "content_filter" };
    case StopReason.PAUSED:
      return { status: "incomplete", reason: undefined };
    case StopReason.UNSPECIFIED:
      return { status: raw === "incomplete" ? "incomplete" : "completed", reason: undefined };
    default:
      return { status: "completed", reason: undefined };
  }
}
