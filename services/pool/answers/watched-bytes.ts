import type { Codec } from "@weir/dialect/codec";
import { parseObject } from "@weir/dialect/json";
import { readEvent } from "@weir/dialect/sse/event";
import { createEventSplitter } from "@weir/dialect/sse/splitter";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { type AnswerPath, mediaTypes, type StreamPath } from "./answer-path.ts";
import { createEventWatch } from "./events.ts";
import { wholeAnswerOf } from "./whole-answer.ts";

/** Longest event of a stream: some providers send whole images in one. */
const eventBytesMax = 8 * 1024 * 1024;

/** Answers to callers of the provider's own dialect, of server-sent events: bytes as they came, read beside their way. */
export function watchedBytes(codec: Codec): AnswerPath {
  return {
    streamType: mediaTypes.sse,
    contentTypes: { stream: mediaTypes.sse, whole: "application/json" },
    openStream: () => watchStream(codec),
    readWhole: (body) => wholeAnswerOf(codec, parseObject(body.toString()), { answer: () => body, error: body }),
  };
}

function watchStream(codec: Codec): StreamPath {
  const splitter = createEventSplitter();
  const reader = codec.createFrameReader();
  const watch = createEventWatch(reader);
  const events: GenerateEvent[] = [];

  function see(): void {
    watch.see(events);
    events.length = 0;
  }

  /** Reads whole server-sent events; what follows a fault or the answer's end is cut off. */
  function read(block: Buffer): Buffer | undefined {
    const text = block.toString();
    let at = text.charCodeAt(0) === byteOrderMark ? 1 : 0;
    while (at < text.length) {
      const start = at;
      const { type, data, end } = readEvent(text, at);
      at = end;
      if (end - start > eventBytesMax) watch.fail({ kind: "too-long" });
      else if (data !== undefined && data.trim() !== "") reader.read(type, data, events);
      see();
      if (watch.facts.fault !== undefined) return start === 0 ? undefined : Buffer.from(text.slice(0, start));
      if (watch.facts.complete) break;
    }
    return at < text.length ? Buffer.from(text.slice(0, at)) : block;
  }

  return {
    push(bytes) {
      if (watch.facts.fault !== undefined || watch.facts.complete) return undefined;
      const block = splitter.push(bytes);
      const forward = block && read(block);
      if (splitter.keptBytes() > eventBytesMax && !watch.facts.complete) watch.fail({ kind: "too-long" });
      return forward;
    },
    end() {
      if (watch.facts.fault !== undefined || watch.facts.complete) return undefined;
      const left = splitter.end();
      let last: Buffer | undefined;
      if (left !== undefined) {
        const { data = "" } = readEvent(left.toString(), 0);
        // An event that only lacks its blank line is whole; any other was cut off.
        if (parseObject(data) !== undefined) last = read(Buffer.concat([left, blankLine]));
        else if (data.trim() !== "") return undefined;
      }
      if (watch.facts.fault === undefined && !watch.facts.complete) {
        reader.finish(events);
        see();
      }
      return last;
    },
    facts: watch.facts,
    contentEvents: watch.contentEvents,
    outputTokens: watch.outputTokens,
  };
}

const byteOrderMark = 0xfeff;
const blankLine = Buffer.from("\n\n");
