import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { startEvent } from "../events.ts";
import type { JsonObject } from "../json.ts";
import { readReplyId } from "./chunk.ts";

/** The first second that no Timestamp can hold; vendors that count milliseconds reach it. */
const secondsEnd = 253_402_300_800;

/** Reads what an answer, or the first chunk of one, says of itself. */
export function readReplyStart(json: JsonObject): GenerateEvent {
  const { created } = json;
  return startEvent({
    id: readReplyId(json),
    model: textOf(json["model"]),
    createTimeMs: isTime(created) ? created * 1_000 : undefined,
    systemFingerprint: textOf(json["system_fingerprint"]),
    serviceTier: textOf(json["service_tier"]),
  });
}

/** Whether a value is a time in seconds since 1970. Zero is what vendors put where they know none. */
export function isTime(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value < secondsEnd;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
