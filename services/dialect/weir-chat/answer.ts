import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type GenerateEvent, GenerateEventSchema } from "@weir/gen/weir/chat/v1/event_pb";
import type { AnswerReading, Frame, FrameReader, FrameWriter, StreamFault, UsageReading } from "../codec.ts";
import { isObject, type JsonObject, parseObject } from "../json.ts";
import { readError } from "./errors.ts";

/** `{"events": [...]}`: the events of a stream, at once. */
export function writeAnswer(events: readonly GenerateEvent[]): string {
  return JSON.stringify({ events: events.map((event) => toJson(GenerateEventSchema, event)) });
}

export function readAnswer(body: JsonObject): AnswerReading | undefined {
  const list = body["events"];
  if (!Array.isArray(list)) return undefined;
  const events = list.map(readEvent);
  if (!events.every((event) => event !== undefined) || events.at(-1)?.kind.case !== "end") return undefined;
  return { events, usage: usageOf(events) };
}

/** A frame for each event; `end` is the end mark. */
export function createFrameWriter(): FrameWriter {
  return { write: (event): Frame[] => [{ type: "", data: JSON.stringify(toJson(GenerateEventSchema, event)) }] };
}

export function createFrameReader(): FrameReader {
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;
  return {
    read(_type, data, out) {
      if (complete || fault !== undefined) return;
      const json = parseObject(data);
      const error = json && readError(json);
      if (error !== undefined) fault = { kind: "error", error };
      const event = fault === undefined && json !== undefined ? readEvent(json) : undefined;
      if (event === undefined) {
        fault ??= { kind: "malformed" };
        return;
      }
      usage = usageOf([event]) ?? usage;
      complete = event.kind.case === "end";
      out.push(event);
    },
    finish() {
      if (!complete) fault ??= { kind: "malformed" };
    },
    get complete() {
      return complete;
    },
    get fault() {
      return fault;
    },
    get usage() {
      return usage;
    },
  };
}

function readEvent(json: unknown): GenerateEvent | undefined {
  if (!isObject(json)) return undefined;
  try {
    return fromJson(GenerateEventSchema, json as JsonValue, { ignoreUnknownFields: true });
  } catch {
    return undefined;
  }
}

function usageOf(events: readonly GenerateEvent[]): UsageReading | undefined {
  let usage: UsageReading["usage"] | undefined;
  for (const { kind } of events) {
    if (kind.case === "usage") usage = kind.value;
    else if (kind.case === "end") usage = kind.value.usage ?? usage;
  }
  return usage && { usage, sound: true };
}
