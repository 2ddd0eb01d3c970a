import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { FrameReader, StreamFault, UsageReading } from "../codec.ts";
import { usageEvent } from "../events.ts";
import { isObject, type JsonObject, parseExact, parseObject } from "../json.ts";
import { readError } from "./provider-error.ts";
import { createReplyReader } from "./reply-reader.ts";
import { mergeUsage, readUsage } from "./usage.ts";

/**
 * Creates the reader of one stream. Its one true end is `message_stop`: without it the vendor's own clients raise.
 * https://platform.claude.com/docs/en/build-with-claude/streaming
 */
export function createFrameReader(): FrameReader {
  const reply = createReplyReader();
  let started = false;
  let firstOutput: unknown = null;
  let complete = false;
  let fault: StreamFault | undefined;
  let usageMembers: JsonObject = {};
  let usage: UsageReading | undefined;

  function read(type: string, data: string, out: GenerateEvent[]): void {
    if (complete || fault !== undefined || type === "ping") return;
    const json = parseObject(data);
    if (json !== undefined) {
      if (!readEvent(json, typeof json["type"] === "string" ? json["type"] : type, data, out)) fault ??= malformed;
    } else if (type === "error") {
      fault = { kind: "error", error: noError };
    } else if (data.trim() !== "") {
      fault = malformed;
    }
  }

  /** False when the event contradicts what came before. */
  function readEvent(json: JsonObject, type: string, data: string, out: GenerateEvent[]): boolean {
    switch (type) {
      case "content_block_delta":
        return started && isObject(json["delta"]) && reply.appendBlock(asIndex(json["index"]), json["delta"], out);
      case "content_block_start":
        return started && startBlock(json, data, out);
      case "content_block_stop":
        return started && reply.stopBlock(asIndex(json["index"]), out);
      case "message_start":
        return startMessage(json["message"], out);
      case "message_delta":
        if (!started) return false;
        if (isObject(json["delta"])) reply.noteEnd(json["delta"]);
        noteUsage({ output_tokens: firstOutput, ...(isObject(json["usage"]) ? json["usage"] : {}) }, out);
        return true;
      case "message_stop":
        if (!started) return false;
        reply.end(usage?.usage, out);
        complete = true;
        return true;
      case "ping":
        return true;
      default: {
        const error = readError(json);
        if (error !== undefined || type === "error") fault = { kind: "error", error: error ?? noError };
        return true;
      }
    }
  }

  function startMessage(message: unknown, out: GenerateEvent[]): boolean {
    if (started || !isObject(message)) return false;
    started = true;
    reply.start(message, out);
    reply.noteEnd(message);
    if (!isObject(message["usage"])) return true;
    // One token, as the answer begins: a total only of answers that end here, and no count of one that is cut off later.
    const { output_tokens: output, ...input } = message["usage"];
    firstOutput = output ?? null;
    noteUsage(input, out);
    return true;
  }

  function startBlock(json: JsonObject, data: string, out: GenerateEvent[]): boolean {
    const index = asIndex(json["index"]);
    // Arguments follow as text; where they stand here already, their numbers must not be damaged.
    const exact = hasInput(json["content_block"]) ? parseExact(data) : json;
    const block = exact?.["content_block"];
    return index >= 0 && isObject(block) && reply.startBlock(index, block, out);
  }

  function noteUsage(members: unknown, out: GenerateEvent[]): void {
    if (!isObject(members)) return;
    usageMembers = mergeUsage(usageMembers, members);
    usage = readUsage(usageMembers);
    if (usage !== undefined) out.push(usageEvent(usage.usage));
  }

  return {
    read,
    finish: () => undefined,
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

const malformed: StreamFault = { kind: "malformed" };
const noError = { code: "", type: "" };

function asIndex(value: unknown): number {
  return Number.isInteger(value) ? (value as number) : -1;
}

function hasInput(block: unknown): boolean {
  return isObject(block) && isObject(block["input"]) && Object.keys(block["input"]).length > 0;
}
