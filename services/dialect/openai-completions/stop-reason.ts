import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// https://platform.openai.com/docs/api-reference/completions/object
const words: ReadonlySet<string> = new Set(["stop", "length", "content_filter"]);

/**
 * The `finish_reason` to write. A context that is full is `length`; whatever else ended a text is `stop`.
 * @param raw the vendor's word, which stands when it is one of this dialect's
 */
export function writeStopReason(reason: StopReason, raw: string): string {
  if (words.has(raw)) return raw;
  if (reason === StopReason.LENGTH || reason === StopReason.CONTEXT_FULL) return "length";
  return reason === StopReason.CONTENT_FILTER ? "content_filter" : "stop";
}
