import { isObject, parseObject } from "@weir/dialect/json";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Metered } from "../usage-counts.ts";
import { readUsage } from "./usage-watch.ts";

/** What an event of a client may lead to: the response that it asks for, one that begins when enough was heard, or none. */
export type Cause = "asks" | "speaks" | "none";

export interface ClientEvent {
  readonly cause: Cause;
  /** What the client calls the event; empty: nothing. */
  readonly id: string;
}

/** What a provider says of responses. */
export type ResponseEvent =
  | { readonly type: "created"; readonly responseId: string }
  | {
      readonly type: "done";
      readonly responseId: string;
      readonly outcome: AttemptOutcome;
      /** Undefined: not reported. */
      readonly usage: Usage | undefined;
    }
  /** An event of the client that was not taken. */
  | { readonly type: "refused"; readonly eventId: string };

/** Longer ids are cut, as everywhere. */
const idCharsMax = 128;

/** Events after which no response begins: https://platform.openai.com/docs/api-reference/realtime-client-events */
const quiet: ReadonlySet<unknown> = new Set([
  "session.update",
  "conversation.item.create",
  "conversation.item.delete",
  "conversation.item.retrieve",
  "conversation.item.truncate",
  "input_audio_buffer.clear",
  "output_audio_buffer.clear",
  "response.cancel",
]);

/** Whatever is not known may lead to a response. */
export function readClientEvent(data: Buffer): ClientEvent {
  // Sound comes often and is long. Without an escape in it no other text can stand for the type.
  const isSound = data.includes('"input_audio_buffer.append"') && !data.includes("response.create");
  if (isSound && !data.includes("\\")) return { cause: "speaks", id: "" };
  const event = parseObject(data.toString());
  const type = event?.["type"];
  if (type === "response.create") return { cause: "asks", id: idOf(event?.["event_id"]) };
  return { cause: quiet.has(type) ? "none" : "speaks", id: "" };
}

/** @returns undefined: the event is about something else */
export function readResponseEvent(data: Buffer): ResponseEvent | undefined {
  if (!['"response.created"', '"response.done"', '"error"'].some((type) => data.includes(type))) return undefined;
  const event = parseObject(data.toString());
  const type = event?.["type"];
  if (type === "error") {
    const error = event?.["error"];
    return { type: "refused", eventId: isObject(error) ? idOf(error["event_id"]) : "" };
  }
  const response = event?.["response"];
  if (!isObject(response)) return undefined;
  const responseId = idOf(response["id"]);
  if (type === "response.created") return { type: "created", responseId };
  if (type !== "response.done") return undefined;
  return {
    type: "done",
    responseId,
    outcome: outcomes.get(response["status"]) ?? AttemptOutcome.COMPLETED,
    usage: isObject(response["usage"]) ? readUsage(response["usage"], "realtime") : undefined,
  };
}

/**
 * Tells a client that too many of its responses are open.
 * https://platform.openai.com/docs/api-reference/realtime-server-events/error
 */
export function tooManyResponses({ id }: ClientEvent, most: number): Buffer {
  const error = {
    type: "invalid_request_error",
    code: "too_many_responses",
    message: `A session has at most ${most} responses at once; ask again when one has ended.`,
    param: null,
    event_id: id === "" ? null : id,
  };
  return Buffer.from(JSON.stringify({ type: "error", event_id: "event_weir", error }));
}

/** What nobody reported. */
export const unknown: Metered = {
  usage: { $typeName: "weir.common.v1.Usage", serverToolUses: {} },
  source: UsageSource.COUNTED,
};

/** By the status of a response; one that failed on the way is billed for what came. */
const outcomes: ReadonlyMap<unknown, AttemptOutcome> = new Map([
  ["completed", AttemptOutcome.COMPLETED],
  ["incomplete", AttemptOutcome.COMPLETED],
  ["cancelled", AttemptOutcome.CANCELLED],
  ["failed", AttemptOutcome.TRUNCATED],
]);

function idOf(value: unknown): string {
  return typeof value === "string" ? value.slice(0, idCharsMax) : "";
}
