import type { Citation, Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { GenerateEvent, ReplyDelta, ReplyEnd, ReplyStart } from "@weir/gen/weir/chat/v1/event_pb";
import { writeBase64 } from "../base64.ts";
import { noBytes } from "../bytes.ts";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import { parseObject } from "../json.ts";
import { answerFields, imageFormat, writeImageSource, writeMetrics } from "./answer-writer.ts";
import { writeCitation } from "./citation.ts";
import { writeDetails } from "./details.ts";
import { isRedacted, type ReasoningFacts, writeCallProof, writeSignature } from "./reasoning.ts";
import { isServiceTier } from "./service-tier.ts";
import { writeStopReason } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

type Content = ReplyDelta["content"] | { readonly case: "citation"; readonly value: Citation };
type Piece = { readonly part: number; readonly content: Content };

/** The block that is being written. */
type Open =
  | { readonly kind: "text"; readonly part: number; readonly index: number; readonly head: string }
  | {
      readonly kind: "reasoning";
      readonly part: number;
      readonly index: number;
      readonly head: string;
      hasText: boolean;
      signature: Uint8Array;
      sealed: Uint8Array;
      id: string;
    }
  | {
      readonly kind: "toolCall";
      readonly part: number;
      readonly index: number;
      readonly head: string;
      readonly id: string;
      text: string;
      signature: Uint8Array;
    };

/**
 * Creates the writer of a ConverseStream answer. Blocks come one after another, each from its first delta to its end, as
 * clients expect; what belongs to another part waits until the arguments of a call are whole.
 */
export function createFrameWriter({ request }: AnswerOptions): FrameWriter {
  const calls = new Map<number, string>(); // ids of calls that have begun, by their part
  let waiting: Piece[] = [];
  let blocks = 0;
  let open: Open | undefined;
  let tier = "";

  function write(piece: Piece, out: Frame[]): void {
    const { part, content } = piece;
    const kind = kindOf(content);
    if (open !== undefined && open.part === part && open.kind === kind) {
      add(open, content, out);
      if (waiting.length > 0 && isWhole(open)) writeWaiting(out);
    } else if (waiting.length > 0 || (open !== undefined && !isWhole(open))) waiting.push(piece);
    else {
      close(out);
      if (content.case === "toolCall" && calls.has(part)) return writeLateProof(part, content.value.signature, out);
      if (content.case === "image") return writeImage(content.value, out);
      open = begin(part, kind, content, out);
      if (open !== undefined) add(open, content, out);
    }
  }

  function writeWaiting(out: Frame[]): void {
    close(out);
    const pieces = waiting;
    waiting = [];
    for (const piece of pieces) write(piece, out);
  }

  function begin(part: number, kind: Open["kind"] | undefined, content: Content, out: Frame[]): Open | undefined {
    if (kind === undefined) return undefined;
    const index = blocks;
    blocks += 1;
    if (content.case === "toolCall") {
      const { id, name } = content.value;
      calls.set(part, id);
      out.push(startFrame(index, { toolUse: { name, toolUseId: id } }));
      const head = `{"contentBlockIndex":${index},"delta":{"toolUse":{"input":`;
      return { kind: "toolCall", part, index, head, id, text: "", signature: noBytes };
    }
    if (kind === "reasoning") {
      const head = `{"contentBlockIndex":${index},"delta":{"reasoningContent":{"text":`;
      return { kind, part, index, head, hasText: false, signature: noBytes, sealed: noBytes, id: "" };
    }
    return { kind: "text", part, index, head: `{"contentBlockIndex":${index},"delta":{"text":` };
  }

  /** Ends the open block, with what can only be said now. */
  function close(out: Frame[]): void {
    if (open === undefined) return;
    if (open.kind === "reasoning") out.push(...proofFrames(open));
    if (open.kind === "toolCall" && open.text === "") out.push({ type: delta, data: `${open.head}"{}"}}}` });
    out.push(stopFrame(open.index));
    const { part, signature } = open.kind === "toolCall" ? open : { part: 0, signature: noBytes };
    open = undefined;
    writeLateProof(part, signature, out);
  }

  /** The proof of a call, in a block of its own. */
  function writeLateProof(part: number, signature: Uint8Array, out: Frame[]): void {
    if (signature.length === 0) return;
    const redactedContent = writeBase64(writeCallProof({ callId: calls.get(part) ?? "", signature }));
    out.push(deltaFrame(blocks, { reasoningContent: { redactedContent } }), stopFrame(blocks));
    blocks += 1;
  }

  function writeImage(image: Media, out: Frame[]): void {
    const source = writeImageSource(image);
    if (source === undefined) out.push(deltaFrame(blocks, { text: image.source.value ?? "" }));
    else {
      out.push(startFrame(blocks, { image: { format: imageFormat(image) } }));
      out.push(deltaFrame(blocks, { image: { source } }));
    }
    out.push(stopFrame(blocks));
    blocks += 1;
  }

  function writeEnd({ choices, usage, details }: ReplyEnd, out: Frame[]): void {
    while (waiting.length > 0) writeWaiting(out);
    close(out);
    const choice = choices.find(({ choice: index }) => index === 0);
    const stop = {
      ...answerFields(choice?.stopSequence ?? "", request),
      ...writeDetails(details, ["additionalModelResponseFields"]),
      stopReason: writeStopReason(choice?.reason ?? 0, choice?.rawReason ?? ""),
    };
    const counts = writeUsage(usage);
    const metadata = {
      ...writeMetrics(details),
      ...(isServiceTier(tier) ? { serviceTier: { type: tier } } : {}),
      ...writeDetails(details, ["performanceConfig", "serviceTier", "trace"]),
      ...(counts === undefined ? {} : { usage: counts }),
    };
    out.push({ type: "messageStop", data: JSON.stringify(stop) });
    out.push({ type: "metadata", data: JSON.stringify(metadata) });
  }

  function writeStart({ serviceTier }: ReplyStart, out: Frame[]): void {
    tier = serviceTier;
    out.push({ type: "messageStart", data: '{"role":"assistant"}' });
  }

  return {
    write({ kind }: GenerateEvent): readonly Frame[] {
      const out: Frame[] = [];
      switch (kind.case) {
        case "start":
          writeStart(kind.value, out);
          break;
        case "delta":
          if (kind.value.choice === 0) write(kind.value, out);
          break;
        case "citation": {
          const { choice, part, citation } = kind.value;
          if (choice === 0 && citation) write({ part, content: { case: "citation", value: citation } }, out);
          break;
        }
        case "end":
          writeEnd(kind.value, out);
          break;
        case "warning":
        case "usage":
        case undefined:
      }
      return out;
    },
  };
}

const delta = "contentBlockDelta";

function kindOf(content: Content): Open["kind"] | undefined {
  switch (content.case) {
    case "text":
    case "refusal":
    case "audio":
    case "citation":
      return "text";
    case "reasoning":
    case "toolCall":
      return content.case;
    case "image":
    case undefined:
      return undefined;
  }
}

/** Whether nothing can be missing of a block: only calls show it, by arguments that are an object. */
function isWhole(open: Open): boolean {
  return open.kind !== "toolCall" || parseObject(open.text) !== undefined;
}

/** Adds a piece of content to its block. */
function add(open: Open, content: Content, out: Frame[]): void {
  switch (content.case) {
    case "text":
    case "refusal":
      out.push({ type: delta, data: `${open.head}${JSON.stringify(content.value)}}}` });
      break;
    case "audio":
      // Nobody can ask for sound in this dialect; what was said is not lost.
      out.push({ type: delta, data: `${open.head}${JSON.stringify(content.value.transcript)}}}` });
      break;
    case "citation":
      out.push(deltaFrame(open.index, { citation: writeCitation(content.value) }));
      break;
    case "reasoning":
      if (open.kind === "reasoning") addReasoning(open, content.value, out);
      break;
    case "toolCall":
      if (open.kind !== "toolCall") break;
      if (content.value.signature.length > 0) open.signature = content.value.signature;
      if (content.value.arguments === "") break;
      open.text += content.value.arguments;
      out.push({ type: delta, data: `${open.head}${JSON.stringify(content.value.arguments)}}}}` });
      break;
    case "image":
    case undefined:
  }
}

function addReasoning(open: Extract<Open, { kind: "reasoning" }>, piece: ReasoningFacts, out: Frame[]): void {
  if (piece.signature.length > 0) open.signature = piece.signature;
  if (piece.sealed.length > 0) open.sealed = piece.sealed;
  if (piece.id !== "") open.id = piece.id;
  if (piece.text === "") return;
  open.hasText = true;
  out.push({ type: delta, data: `${open.head}${JSON.stringify(piece.text)}}}}` });
}

/** The last frames of reasoning: its proof, which only now is known whole. */
function proofFrames({
  index,
  hasText,
  signature,
  sealed,
  id,
}: Extract<Open, { kind: "reasoning" }>): readonly Frame[] {
  const facts = { text: hasText ? "shown" : "", signature, sealed, id };
  if (isRedacted(facts)) return [deltaFrame(index, { reasoningContent: { redactedContent: writeBase64(sealed) } })];
  const proof = writeSignature(facts);
  if (proof !== "") return [deltaFrame(index, { reasoningContent: { signature: proof } })];
  return hasText ? [] : [deltaFrame(index, { reasoningContent: { text: "" } })];
}

function startFrame(index: number, start: unknown): Frame {
  return { type: "contentBlockStart", data: JSON.stringify({ contentBlockIndex: index, start }) };
}

function deltaFrame(index: number, content: unknown): Frame {
  return { type: delta, data: JSON.stringify({ contentBlockIndex: index, delta: content }) };
}

function stopFrame(index: number): Frame {
  return { type: "contentBlockStop", data: `{"contentBlockIndex":${index}}` };
}
