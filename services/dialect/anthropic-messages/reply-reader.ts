import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { readInput } from "../claude/tool-input.ts";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
  warning,
} from "../events.ts";
import { isJsonObject } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { isHoldable, isShallow } from "../struct.ts";
import { codePoints, readCitation } from "./citations.ts";
import { readRedacted, readThinking } from "./sealed.ts";
import { readStopReason } from "./stop-reason.ts";

/** Turns the blocks of one reply into events. Lenient: what it does not know says nothing. */
export interface ReplyReader {
  start(message: JsonObject, out: GenerateEvent[]): void;
  /**
   * Begins a block, which may hold all of it already. False when one of this index has begun before, or its arguments nest
   * absurdly.
   */
  startBlock(index: number, block: JsonObject, out: GenerateEvent[]): boolean;
  /** Continues a block. False when none of this index is open. */
  appendBlock(index: number, delta: JsonObject, out: GenerateEvent[]): boolean;
  /** Ends a block. False when none of this index is open. */
  stopBlock(index: number, out: GenerateEvent[]): boolean;
  /** Notes why the reply ended: members of a message or of `message_delta`. */
  noteEnd(members: JsonObject): void;
  /** Ends the blocks that are still open, and the reply. */
  end(usage: Usage | undefined, out: GenerateEvent[]): void;
}

interface Block {
  readonly kind: "text" | "thinking" | "tool_use" | "other";
  readonly part: number;
  open: boolean;
  /** What came of it: code points of text, characters of arguments. */
  length: number;
  readonly citations: JsonObject[];
  /** What the block began with, until a delta says more. */
  input: unknown;
}

export function createReplyReader(): ReplyReader {
  const blocks = new Map<number, Block>();
  const callParts = new Map<string, number>();
  const callSignatures = new Map<string, Uint8Array>();
  let parts = 0;
  let omitted = false;
  let stopReason = "";
  let stopSequence = "";
  let details: Struct | undefined;

  function start(message: JsonObject, out: GenerateEvent[]): void {
    const usage = isObject(message["usage"]) ? message["usage"] : undefined;
    const serviceTier = asText(usage?.["service_tier"]);
    out.push(startEvent({ id: asText(message["id"]), model: asText(message["model"]), serviceTier }));
  }

  function startBlock(index: number, block: JsonObject, out: GenerateEvent[]): boolean {
    if (blocks.has(index)) return false;
    switch (block["type"]) {
      case "text": {
        const text = open(index, "text");
        appendText(text, block["text"], out);
        if (Array.isArray(block["citations"])) text.citations.push(...block["citations"].filter(isObject));
        return true;
      }
      case "thinking":
        appendThinking(open(index, "thinking"), block["thinking"], block["signature"], out);
        return true;
      case "redacted_thinking":
        startRedacted(index, asText(block["data"]), out);
        return true;
      case "tool_use":
        if (!isShallow(block["input"])) return false;
        startToolUse(open(index, "tool_use"), block, out);
        return true;
      default:
        open(index, "other");
        if (!omitted) out.push(omission());
        omitted = true;
        return true;
    }
  }

  function open(index: number, kind: Block["kind"]): Block {
    const block: Block = { kind, part: parts, open: true, length: 0, citations: [], input: undefined };
    if (kind !== "other") parts += 1;
    blocks.set(index, block);
    return block;
  }

  function startRedacted(index: number, data: string, out: GenerateEvent[]): void {
    const redacted = readRedacted(data);
    if (!("callId" in redacted)) {
      out.push(reasoningEvent(0, open(index, "thinking").part, redacted));
      return;
    }
    open(index, "other");
    const part = callParts.get(redacted.callId);
    if (part === undefined) callSignatures.set(redacted.callId, redacted.signature);
    else out.push(toolCallEvent(0, part, { signature: redacted.signature }));
  }

  function startToolUse(block: Block, members: JsonObject, out: GenerateEvent[]): void {
    const id = asText(members["id"]);
    const signature = callSignatures.get(id);
    callParts.set(id, block.part);
    block.input = members["input"];
    const proof = signature === undefined ? {} : { signature };
    out.push(toolCallEvent(0, block.part, { id, name: asText(members["name"]), ...proof }));
  }

  function appendBlock(index: number, delta: JsonObject, out: GenerateEvent[]): boolean {
    const block = blocks.get(index);
    if (block === undefined || !block.open) return false;
    switch (delta["type"]) {
      case "text_delta":
        if (block.kind === "text") appendText(block, delta["text"], out);
        return true;
      case "thinking_delta":
        if (block.kind === "thinking") appendThinking(block, delta["thinking"], "", out);
        return true;
      case "signature_delta":
        if (block.kind === "thinking") appendThinking(block, "", delta["signature"], out);
        return true;
      case "input_json_delta": {
        const json = asText(delta["partial_json"]);
        if (block.kind !== "tool_use" || json === "") return true;
        block.input = undefined;
        block.length += json.length;
        out.push(toolCallEvent(0, block.part, { arguments: json }));
        return true;
      }
      case "citations_delta":
        if (isObject(delta["citation"])) block.citations.push(delta["citation"]);
        return true;
      default:
        return true;
    }
  }

  function stopBlock(index: number, out: GenerateEvent[]): boolean {
    const block = blocks.get(index);
    if (block === undefined || !block.open) return false;
    stop(block, out);
    return true;
  }

  function end(usage: Usage | undefined, out: GenerateEvent[]): void {
    for (const block of blocks.values()) if (block.open) stop(block, out);
    out.push(endEvent([choiceEnd(0, readStopReason(stopReason), stopReason, stopSequence)], usage, details));
  }

  function noteEnd(members: JsonObject): void {
    if (typeof members["stop_reason"] === "string") stopReason = members["stop_reason"];
    if (typeof members["stop_sequence"] === "string") stopSequence = members["stop_sequence"];
    for (const name of endDetails) {
      const value = members[name];
      if (isObject(value) && isHoldable(value)) details = { ...details, [name]: value };
    }
  }

  return { start, startBlock, appendBlock, stopBlock, noteEnd, end };
}

// https://platform.claude.com/docs/en/api/messages: why a reply was refused, and where code ran.
const endDetails = ["stop_details", "container"] as const;

function appendText(block: Block, value: unknown, out: GenerateEvent[]): void {
  const text = asText(value);
  if (text === "") return;
  block.length += codePoints(text);
  out.push(textEvent(0, block.part, text));
}

function appendThinking(block: Block, thinking: unknown, proof: unknown, out: GenerateEvent[]): void {
  const [text, signature] = [asText(thinking), asText(proof)];
  if (text !== "" || signature !== "") out.push(reasoningEvent(0, block.part, readThinking(text, signature)));
}

/** Citations come only now, since they are for all of the block's text; so do arguments that nothing was said of. */
function stop(block: Block, out: GenerateEvent[]): void {
  block.open = false;
  if (block.kind === "text") {
    for (const citation of block.citations)
      out.push(citationEvent(0, block.part, readCitation(citation, block.length)));
  }
  if (block.kind === "tool_use" && block.length === 0) {
    const json = isJsonObject(block.input) ? readInput(block.input) : "{}";
    out.push(toolCallEvent(0, block.part, { arguments: json }));
  }
}

function omission(): GenerateEvent {
  const text =
    "The reply holds content, such as that of tools of the provider, that cannot be translated; it was left out.";
  return {
    $typeName: "weir.chat.v1.GenerateEvent",
    kind: { case: "warning", value: warning("content_omitted", "", text) },
  };
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}
