import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, ProviderError, StreamFault } from "../codec.ts";
import { type JsonObject, parseExact, parseObject } from "../json.ts";
import { readError } from "./provider-error.ts";
import { createResponseReader } from "./response-reader.ts";

/**
 * Creates the reader of a stream of `streamGenerateContent`, whose frames are whole responses. It has no end mark, and
 * usage may follow the last word: the answer is complete when the stream ends in order and every candidate that was
 * spoken of has ended, or the prompt was refused.
 */
export function createFrameReader(): FrameReader {
  const responses = createResponseReader();
  let complete = false;
  let fault: StreamFault | undefined;

  function read(type: string, data: string, out: GenerateEvent[]): void {
    if (complete || fault !== undefined || data.trim() === "") return;
    const json = holdsArguments.test(data) ? parseExact(data) : parseObject(data);
    const error = json === undefined ? readListedError(data) : readError(json);
    if (error !== undefined) fault = { kind: "error", error };
    else if (type === "error") fault = { kind: "error", error: { code: "", type: "" } };
    else if (json === undefined || !responses.read(json, out)) fault = { kind: "malformed" };
  }

  function finish(out: GenerateEvent[]): void {
    if (complete || fault !== undefined) return;
    complete = responses.finish(out, false);
  }

  return {
    read,
    finish,
    get complete() {
      return complete;
    },
    get fault() {
      return fault;
    },
    get usage() {
      return responses.usage;
    },
  };
}

// Ids and signatures look like long numbers now and then, and to keep those is slow; only arguments may hold them.
const holdsArguments = /"(?:functionCall|toolCall|toolResponse)"/;

/** An error that stands alone in a list, which is how it looks where frames are the items of one. */
function readListedError(data: string): ProviderError | undefined {
  if (!data.trimStart().startsWith("[")) return undefined;
  const list = parseExact(`{"list":${data}}`)?.["list"];
  return Array.isArray(list) && list.length === 1 ? readError(list[0] as JsonObject) : undefined;
}
