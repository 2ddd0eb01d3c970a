import type { FrameReader, StreamFault } from "@weir/dialect/codec";
import { createOutputCount } from "@weir/dialect/openai-chat/output-count";
import type { GenerateEvent, ReplyDelta } from "@weir/gen/weir/chat/v1/event_pb";
import type { StreamFacts } from "./answer-path.ts";

/** Follows the events of one streamed answer, whatever becomes of them. */
export interface EventWatch {
  /** Takes events that were just read. */
  see(events: readonly GenerateEvent[]): void;
  /** Takes one event that is a piece of text. @param length in UTF-16 */
  seeText(length: number): void;
  /** A fault of the bytes themselves. */
  fail(fault: StreamFault | undefined): void;
  readonly facts: StreamFacts;
  contentEvents(): number;
  outputTokens(): number;
}

export function createEventWatch(reader: FrameReader): EventWatch {
  const output = createOutputCount();
  let content = false;
  let replyId = "";
  let bytesFault: StreamFault | undefined;
  const facts: StreamFacts = {
    get content() {
      return content;
    },
    get complete() {
      return reader.complete && bytesFault === undefined;
    },
    get fault() {
      return bytesFault ?? reader.fault;
    },
    get usage() {
      return reader.usage;
    },
    get replyId() {
      return replyId;
    },
  };
  return {
    see(events) {
      for (const { kind } of events) {
        if (kind.case === "delta") {
          content = true;
          output.read(deltaBytes(kind.value), true);
        } else if (kind.case === "end") content = true;
        else if (kind.case === "start" && replyId === "") replyId = decentId(kind.value.id);
      }
    },
    seeText(length) {
      content = true;
      output.read(length, true);
    },
    fail(fault) {
      bytesFault ??= fault;
    },
    facts,
    contentEvents: output.events,
    outputTokens: output.tokens,
  };
}

/** Bytes of text that all events together say. */
export function contentBytes(events: readonly GenerateEvent[]): number {
  let bytes = 0;
  for (const { kind } of events) if (kind.case === "delta") bytes += deltaBytes(kind.value);
  return bytes;
}

/** The provider's id of a whole answer; empty when it gave none. */
export function replyIdOf(events: readonly GenerateEvent[]): string {
  for (const { kind } of events) if (kind.case === "start") return decentId(kind.value.id);
  return "";
}

function deltaBytes({ content }: ReplyDelta): number {
  switch (content.case) {
    case "text":
    case "refusal":
      return content.value.length;
    case "reasoning":
      return content.value.text.length + content.value.sealed.length;
    case "toolCall":
      return content.value.name.length + content.value.arguments.length;
    case "audio":
      return content.value.data.length + content.value.transcript.length;
    case "image":
      return content.value.source.case === "data" ? content.value.source.value.length : 0;
    default:
      return 0;
  }
}

const replyIdLengthMax = 256;

function decentId(id: string): string {
  return id.length <= replyIdLengthMax ? id : "";
}
