import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, StreamFault, UsageReading } from "../codec.ts";
import { startEvent, textEvent } from "../events.ts";
import { type JsonObject, parseObject } from "../json.ts";
import { readError } from "../openai/read-error.ts";
import { readUsage } from "../openai/usage.ts";
import { readEnd } from "./answer.ts";

/** Reads a streamed answer: texts, then `done`, then `[DONE]`, which ends it. */
export function createFrameReader(): FrameReader {
  let begun = false;
  let last: JsonObject | undefined;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;

  function readFrame(json: JsonObject, out: GenerateEvent[]): void {
    if (!begun) out.push(startEvent({ id: "", model: "" }));
    begun = true;
    const { text } = json;
    if (typeof text === "string" && text !== "") out.push(textEvent(0, 0, text));
    if (json["done"] !== true) return;
    last = json;
    usage = readUsage(json["usage"]);
  }

  function end(out: GenerateEvent[]): void {
    if (last === undefined) fault = { kind: "malformed" };
    else {
      out.push(readEnd(last, usage));
      complete = true;
    }
  }

  return {
    read(_, data, out) {
      if (fault !== undefined || complete) return;
      if (data.trim() === "[DONE]") {
        end(out);
        return;
      }
      const json = parseObject(data);
      const error = json && readError(json);
      if (error !== undefined) fault = { kind: "error", error };
      else if (json === undefined) fault = { kind: "malformed" };
      else readFrame(json, out);
    },
    finish() {
      // Nothing but `[DONE]` makes an answer complete.
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
