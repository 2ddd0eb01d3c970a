import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
const reasons: ReadonlyMap<string, StopReason> = new Map([
  ["end_turn", StopReason.END],
  ["tool_use", StopReason.TOOL_CALLS],
  ["max_tokens", StopReason.LENGTH],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["content_filtered", StopReason.CONTENT_FILTER],
  ["guardrail_intervened", StopReason.CONTENT_FILTER],
  ["model_context_window_exceeded", StopReason.CONTEXT_FULL],
  // The model wrote what nobody can read; none of the canonical reasons.
  ["malformed_model_output", StopReason.UNSPECIFIED],
  ["malformed_tool_use", StopReason.UNSPECIFIED],
]);

/** Why an answer ended, by the vendor's word for it. */
export function readStopReason(word: string): StopReason {
  return reasons.get(word) ?? StopReason.UNSPECIFIED;
}

/** The vendor's word: the raw one if it is one of its own and means the same, else the nearest. */
export function writeStopReason(reason: StopReason, rawReason: string): string {
  return reasons.get(rawReason) === reason ? rawReason : nearest(reason);
}

function nearest(reason: StopReason): string {
  switch (reason) {
    case StopReason.TOOL_CALLS:
      return "tool_use";
    case StopReason.LENGTH:
      return "max_tokens";
    case StopReason.STOP_SEQUENCE:
      return "stop_sequence";
    case StopReason.CONTENT_FILTER:
      return "content_filtered";
    case StopReason.CONTEXT_FULL:
      return "model_context_window_exceeded";
    default:
      // Also for a pause, which the vendor has no word for.
      return "end_turn";
  }
}
