import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, ProviderError, StreamFault, UsageReading } from "../codec.ts";
import { endEvent } from "../events.ts";
import { type JsonObject, parseObject } from "../json.ts";
import { readError } from "../openai/read-error.ts";
import { readUsage } from "../openai/usage.ts";
import { createChoices, readStart } from "./answer-reader.ts";

const unnamedError: ProviderError = { code: "", type: "" };

/**
 * Reads a streamed answer. `[DONE]` ends it; a stream that closes without it is whole when every choice has ended, since OpenAI's
 * clients take it so.
 */
export function createFrameReader(): FrameReader {
  const choices = createChoices();
  let begun = false;
  let complete = false;
  let fault: StreamFault | undefined;
  let usage: UsageReading | undefined;

  function begin(json: JsonObject, out: GenerateEvent[]): void {
    if (!begun) out.push(readStart(json));
    begun = true;
  }

  function readChunk(json: JsonObject, out: GenerateEvent[]): void {
    begin(json, out);
    if (json["usage"] != null) usage = readUsage(json["usage"]) ?? usage;
    if (!choices.read(json, out)) fault = { kind: "malformed" };
  }

  function end(out: GenerateEvent[]): void {
    begin({}, out);
    out.push(endEvent(choices.ends(), usage?.usage));
    complete = true;
  }

  return {
    read(type, data, out) {
      if (fault !== undefined || complete) return;
      if (data.trim() === "[DONE]") {
        end(out);
        return;
      }
      const json = parseObject(data);
      const error = (json && readError(json)) ?? (type === "error" ? unnamedError : undefined);
      if (error !== undefined) fault = { kind: "error", error };
      else if (json === undefined) fault = { kind: "malformed" };
      else readChunk(json, out);
    },
    finish(out) {
      if (fault === undefined && !complete && choices.complete()) end(out);
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
