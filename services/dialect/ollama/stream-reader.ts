import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, StreamFault, UsageReading } from "../codec.ts";
import { type JsonObject, parseExact } from "../json.ts";
import { createMessageReader, readEnd, readStart } from "./answer-reader.ts";
import { readError } from "./errors.ts";
import { readUsage } from "./usage.ts";

/** Reads a streamed answer. Only `done` ends it: a stream without it was cut off, as the vendor's client has it too. */
export function createFrameReader(): FrameReader {
  const message = createMessageReader();
  let begun = false;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;

  function readLine(json: JsonObject, out: GenerateEvent[]): void {
    if (!begun) out.push(readStart(json));
    begun = true;
    if (!message.read(json, out)) fault = { kind: "malformed" };
    else if (json["done"] === true) {
      usage = readUsage(json);
      out.push(readEnd(json, message.calls(), usage));
      complete = true;
    }
  }

  return {
    read(_, data, out) {
      if (fault !== undefined || complete) return;
      const json = parseExact(data);
      const error = json && readError(json);
      if (error !== undefined) fault = { kind: "error", error };
      else if (json === undefined) fault = { kind: "malformed" };
      else readLine(json, out);
    },
    finish() {
      // Nothing but `done` makes an answer complete.
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
