import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";

// `stop` and `length` end a reply; a request without messages ends with `load` or `unload`: https://docs.ollama.com/api/chat
const reasons: ReadonlyMap<string, StopReason> = new Map([
  ["stop", StopReason.END],
  ["length", StopReason.LENGTH],
  ["load", StopReason.END],
  ["unload", StopReason.END],
]);

/**
 * Why a reply ended.
 * @param calls whether it holds tool calls, which end with `stop` too
 */
export function readStopReason(raw: string, calls: boolean): StopReason {
  const reason = reasons.get(raw) ?? StopReason.UNSPECIFIED;
  return reason === StopReason.END && calls ? StopReason.TOOL_CALLS : reason;
}

/**
 * The `done_reason` to write: `length` for a reply that a limit or the context cut off, else `stop`.
 * @param raw the vendor's word, which stands when it is one of this dialect's
 */
export function writeStopReason(reason: StopReason, raw: string): string {
  if (reasons.has(raw)) return raw;
  return reason === StopReason.LENGTH || reason === StopReason.CONTEXT_FULL ? "length" : "stop";
}
