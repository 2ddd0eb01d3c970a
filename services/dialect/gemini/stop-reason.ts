import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// https://ai.google.dev/api/generate-content#FinishReason and
// https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#FinishReason
const reasons: ReadonlyMap<string, StopReason> = new Map([
  ["FINISH_REASON_UNSPECIFIED", StopReason.UNSPECIFIED],
  ["STOP", StopReason.END],
  ["MAX_TOKENS", StopReason.LENGTH],
  ["SAFETY", StopReason.CONTENT_FILTER],
  ["RECITATION", StopReason.CONTENT_FILTER],
  ["LANGUAGE", StopReason.CONTENT_FILTER],
  ["OTHER", StopReason.UNSPECIFIED],
  ["BLOCKLIST", StopReason.CONTENT_FILTER],
  ["PROHIBITED_CONTENT", StopReason.CONTENT_FILTER],
  ["SPII", StopReason.CONTENT_FILTER],
  ["MODEL_ARMOR", StopReason.CONTENT_FILTER],
  ["MALFORMED_FUNCTION_CALL", StopReason.UNSPECIFIED],
  ["UNEXPECTED_TOOL_CALL", StopReason.UNSPECIFIED],
  ["TOO_MANY_TOOL_CALLS", StopReason.UNSPECIFIED],
  ["MISSING_THOUGHT_SIGNATURE", StopReason.UNSPECIFIED],
  ["MALFORMED_RESPONSE", StopReason.UNSPECIFIED],
  ["IMAGE_SAFETY", StopReason.CONTENT_FILTER],
  ["IMAGE_PROHIBITED_CONTENT", StopReason.CONTENT_FILTER],
  ["IMAGE_RECITATION", StopReason.CONTENT_FILTER],
  ["IMAGE_OTHER", StopReason.UNSPECIFIED],
  ["NO_IMAGE", StopReason.UNSPECIFIED],
  ["CONTINUATION", StopReason.PAUSED],
]);

/** @param hasCalls whether the model called functions; Gemini stops for them as for any other end */
export function readStopReason(finishReason: string, hasCalls: boolean): StopReason {
  const reason = reasons.get(finishReason) ?? StopReason.UNSPECIFIED;
  return reason === StopReason.END && hasCalls ? StopReason.TOOL_CALLS : reason;
}

const words: ReadonlyMap<StopReason, string> = new Map([
  [StopReason.UNSPECIFIED, "OTHER"],
  [StopReason.END, "STOP"],
  [StopReason.LENGTH, "MAX_TOKENS"],
  [StopReason.STOP_SEQUENCE, "STOP"],
  [StopReason.TOOL_CALLS, "STOP"],
  [StopReason.CONTENT_FILTER, "SAFETY"],
  [StopReason.CONTEXT_FULL, "MAX_TOKENS"],
  [StopReason.PAUSED, "CONTINUATION"],
]);

/** @param rawReason the vendor's word, which stands when it is Gemini's and means the same */
export function writeFinishReason(reason: StopReason, rawReason: string): string {
  const word = words.get(reason) ?? "OTHER";
  return reasons.has(rawReason) && reasons.get(rawReason) === reasons.get(word) ? rawReason : word;
}
