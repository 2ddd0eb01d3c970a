import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons; `compaction` is of a beta.
const reasons: ReadonlyMap<string, StopReason> = new Map<string, StopReason>([
  ["end_turn", StopReason.END],
  ["max_tokens", StopReason.LENGTH],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["tool_use", StopReason.TOOL_CALLS],
  ["refusal", StopReason.CONTENT_FILTER],
  ["model_context_window_exceeded", StopReason.CONTEXT_FULL],
  ["pause_turn", StopReason.PAUSED],
  ["compaction", StopReason.PAUSED],
]);

/** Words that are new here are not reported; they stay in `raw_reason`. */
export function readStopReason(word: string): StopReason {
  return reasons.get(word) ?? StopReason.UNSPECIFIED;
}

/**
 * The word for a reason: the vendor's own, when it is one that means this reason. Clients run tools only when they are told
 * so, which some vendors forget. A reason that nobody reported is written as a plain end, since clients demand one.
 * @param calls whether the reply has tool calls
 */
export function writeStopReason(reason: StopReason, rawReason: string, calls: boolean): string {
  if (reasons.get(rawReason) === reason) return rawReason;
  if (calls && (reason === StopReason.END || reason === StopReason.UNSPECIFIED)) return "tool_use";
  for (const [word, meaning] of reasons) if (meaning === reason) return word;
  return "end_turn";
}
