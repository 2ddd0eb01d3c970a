import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// https://platform.openai.com/docs/api-reference/chat/object, then the words of vendors that are compatible.
const reasons: ReadonlyMap<string, StopReason> = new Map([
  ["stop", StopReason.END],
  ["length", StopReason.LENGTH],
  ["tool_calls", StopReason.TOOL_CALLS],
  ["function_call", StopReason.TOOL_CALLS],
  ["content_filter", StopReason.CONTENT_FILTER],
  ["eos", StopReason.END], // Together
  ["eos_token", StopReason.END], // Hugging Face
  ["end_turn", StopReason.END],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["max_tokens", StopReason.LENGTH],
  ["model_length", StopReason.CONTEXT_FULL], // Mistral
  ["tool_use", StopReason.TOOL_CALLS],
]);

/**
 * Why a choice ended.
 * @param calls whether it holds tool calls: one that was forced by name ends with `stop`
 */
export function readStopReason(raw: string, calls: boolean): StopReason {
  const reason = reasons.get(raw) ?? StopReason.UNSPECIFIED;
  return reason === StopReason.END && calls ? StopReason.TOOL_CALLS : reason;
}

/** The words of the dialect itself. */
export type FinishReason = "stop" | "length" | "tool_calls" | "content_filter" | "function_call";

/**
 * The `finish_reason` to write. A context that is full is `length`; a pause, a stop sequence and a reason that nobody
 * gave are `stop`.
 * @param legacy whether the client reads `function_call` in place of `tool_calls`
 */
export function writeStopReason(reason: StopReason, legacy: boolean): FinishReason {
  switch (reason) {
    case StopReason.LENGTH:
    case StopReason.CONTEXT_FULL:
      return "length";
    case StopReason.TOOL_CALLS:
      return legacy ? "function_call" : "tool_calls";
    case StopReason.CONTENT_FILTER:
      return "content_filter";
    default:
      return "stop";
  }
}
