import type {
  GenerateEvent,
  ReasoningDelta,
  ReplyDelta,
  ReplyEnd,
  ReplyStart,
  ToolCallDelta,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { noBytes } from "../bytes.ts";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import { type JsonObject, parseObject } from "../json.ts";
import { toolUse, writeEnd, writeMessage } from "./answer-writer.ts";
import { writeCitation } from "./citations.ts";
import { isOwnReasoning, writeCallSignature, writeProof, writeReasoning } from "./sealed.ts";
import { writeDeltaUsage } from "./usage.ts";

interface Block {
  readonly kind: "text" | "reasoning" | "toolCall";
  readonly part: number;
  readonly index: number;
  /** The JSON of a delta up to its text. */
  readonly head: string;
}

interface ReasoningBlock extends Block {
  readonly kind: "reasoning";
  signature: Uint8Array;
  sealed: Uint8Array;
  id: string;
}

interface ToolBlock extends Block {
  readonly kind: "toolCall";
  readonly id: string;
  arguments: string;
  /** A proof that came after the block began. */
  signature: Uint8Array;
}

interface TextBlock extends Block {
  readonly kind: "text";
}

/**
 * Creates the writer of one stream. One block is open at a time, as the vendor has it, but for calls that are left with half
 * of an object of arguments: they stay open to the end, so that late pieces find them. Only the first choice is written.
 */
export function createFrameWriter(options: AnswerOptions): FrameWriter {
  /** Calls by part; undefined once they are closed. */
  const calls = new Map<number, ToolBlock | undefined>();
  let started = false;
  let blocks = 0;
  let current: TextBlock | ReasoningBlock | ToolBlock | undefined;
  let usage: Usage | undefined;

  function write(event: GenerateEvent): readonly Frame[] {
    const { kind } = event;
    switch (kind.case) {
      case "start":
        return begin(kind.value);
      case "delta": {
        const frames = begin();
        if (kind.value.choice === 0) writeDelta(kind.value, frames);
        return frames;
      }
      case "citation": {
        const { choice, part, citation } = kind.value;
        if (current?.kind !== "text" || current.part !== part || choice !== 0 || citation === undefined) return [];
        const cited = { type: "citations_delta", citation: writeCitation(citation) };
        return [frame("content_block_delta", { index: current.index, delta: cited })];
      }
      case "usage":
        noteUsage(kind.value);
        return [];
      case "end":
        return end(kind.value);
      case "warning":
      case undefined:
        return [];
    }
  }

  /** Begins the message, unless it has begun. */
  function begin(start?: ReplyStart): Frame[] {
    if (started) return [];
    started = true;
    return [frame("message_start", { message: writeMessage(start, options, usage) })];
  }

  function writeDelta({ part, content }: ReplyDelta, frames: Frame[]): void {
    switch (content.case) {
      case "text":
      case "refusal":
        if (content.value === "") return;
        if (current?.kind !== "text" || current.part !== part) openText(part, frames);
        frames.push(delta(current?.head ?? "", content.value));
        return;
      case "reasoning":
        writeReasoningDelta(part, content.value, frames);
        return;
      case "toolCall":
        writeCallDelta(part, content.value, frames);
        return;
      // Clients of this dialect know no sound and no pictures in an answer.
      case "audio":
      case "image":
      case undefined:
    }
  }

  function openText(part: number, frames: Frame[]): void {
    leave(frames);
    const index = startBlock({ type: "text", text: "", citations: null }, frames);
    current = { kind: "text", part, index, head: deltaHead(index, "text_delta", "text") };
  }

  function writeReasoningDelta(part: number, added: ReasoningDelta, frames: Frame[]): void {
    if (current?.kind !== "reasoning" || current.part !== part) {
      if (added.text === "" && added.signature.length + added.sealed.length + added.id.length === 0) return;
      leave(frames);
      if (added.sealed.length > 0 && isOwnReasoning(added)) {
        stopBlock(startBlock(writeReasoning(added), frames), frames);
        return;
      }
      const index = startBlock({ type: "thinking", thinking: "", signature: "" }, frames);
      const head = deltaHead(index, "thinking_delta", "thinking");
      current = { kind: "reasoning", part, index, head, signature: noBytes, sealed: noBytes, id: "" };
    }
    if (added.text !== "") frames.push(delta(current.head, added.text));
    if (added.signature.length > 0) current.signature = added.signature;
    if (added.sealed.length > 0) current.sealed = added.sealed;
    if (added.id !== "") current.id = added.id;
  }

  function writeCallDelta(part: number, added: ToolCallDelta, frames: Frame[]): void {
    const known = calls.get(part);
    if (known !== undefined && added.signature.length > 0) known.signature = added.signature;
    const block = calls.has(part) ? known : openCall(part, added, frames);
    if (block === undefined || added.arguments === "") return;
    block.arguments += added.arguments;
    frames.push(delta(block.head, added.arguments));
  }

  function openCall(part: number, added: ToolCallDelta, frames: Frame[]): ToolBlock {
    leave(frames);
    writeSignature(added.id, added.signature, frames);
    const index = startBlock(toolUse(added.id, added.name), frames);
    const head = deltaHead(index, "input_json_delta", "partial_json");
    const block: ToolBlock = { kind: "toolCall", part, index, head, id: added.id, arguments: "", signature: noBytes };
    calls.set(part, block);
    current = block;
    return block;
  }

  function writeSignature(callId: string, signature: Uint8Array, frames: Frame[]): void {
    if (signature.length === 0) return;
    stopBlock(startBlock(writeCallSignature({ callId, signature }), frames), frames);
  }

  /** Ends the block that is open, so that the next may begin. */
  function leave(frames: Frame[]): void {
    if (current?.kind === "toolCall") {
      if (parseObject(current.arguments) !== undefined) closeCall(current, frames);
    } else if (current !== undefined) {
      close(current, frames);
    }
    current = undefined;
  }

  function close(block: TextBlock | ReasoningBlock, frames: Frame[]): void {
    if (block.kind === "reasoning") {
      // Also an empty one: some clients return only thoughts that had a signature.
      const signature = { type: "signature_delta", signature: writeProof(block) };
      frames.push(frame("content_block_delta", { index: block.index, delta: signature }));
    }
    stopBlock(block.index, frames);
  }

  function closeCall(block: ToolBlock, frames: Frame[]): void {
    calls.set(block.part, undefined);
    stopBlock(block.index, frames);
    writeSignature(block.id, block.signature, frames);
  }

  function startBlock(block: object, frames: Frame[]): number {
    const index = blocks;
    blocks += 1;
    frames.push(frame("content_block_start", { index, content_block: block }));
    return index;
  }

  function noteUsage(counts: Usage): void {
    const serverToolUses = { ...usage?.serverToolUses, ...counts.serverToolUses };
    usage = { ...usage, ...counts, serverToolUses };
  }

  function end(reply: ReplyEnd): readonly Frame[] {
    const frames = begin();
    if (current !== undefined && current.kind !== "toolCall") close(current, frames);
    for (const block of calls.values()) if (block !== undefined) closeCall(block, frames);
    current = undefined;
    if (reply.usage !== undefined) noteUsage(reply.usage);
    frames.push(
      frame("message_delta", { delta: writeEnd(reply, calls.size > 0), usage: writeDeltaUsage(usage) }),
      frame("message_stop", {}),
    );
    return frames;
  }

  return {
    write,
    textFrame(choice, part) {
      if (choice !== 0 || current?.kind !== "text" || current.part !== part) return undefined;
      return { type: "content_block_delta", around: [`${current.head}"`, '"}}'] };
    },
  };
}

function stopBlock(index: number, frames: Frame[]): void {
  frames.push(frame("content_block_stop", { index }));
}

function frame(type: string, members: JsonObject): Frame {
  return { type, data: JSON.stringify({ type, ...members }) };
}

function deltaHead(index: number, type: string, member: string): string {
  return `{"type":"content_block_delta","index":${index},"delta":{"type":"${type}","${member}":`;
}

function delta(head: string, text: string): Frame {
  return { type: "content_block_delta", data: `${head}${JSON.stringify(text)}}}` };
}
