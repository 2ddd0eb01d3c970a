import type { AnswerOptions, Codec, Frame, FrameWriter } from "@weir/dialect/codec";
import { createFrameSplitter } from "@weir/dialect/framing/splitter";
import { writeFrames } from "@weir/dialect/framing/writer";
import { parseExact } from "@weir/dialect/json";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { type AnswerPath, mediaTypes, type Piece, type StreamPath } from "./answer-path.ts";
import { createEventWatch } from "./events.ts";
import { createTextRepeats } from "./text-repeats.ts";
import { wholeAnswerOf } from "./whole-answer.ts";

/** Who gets the answer: a client of a dialect, or a caller of the canonical form. */
export type Reader = { readonly codec: Codec; readonly options: AnswerOptions } | "canonical";

/** What reads a provider's answers. */
type Source = Pick<Codec, "framing" | "readAnswer" | "readError" | "createFrameReader">;

/** Answers of one dialect to callers of another, or of the canonical form. */
export function translated(source: Source, reader: Reader): AnswerPath {
  return {
    streamType: mediaTypes[source.framing],
    contentTypes: {
      stream: mediaTypes[reader === "canonical" ? "sse" : reader.codec.framing],
      whole: "application/json",
    },
    openStream: () => translateStream(source, reader),
    readWhole(body) {
      try {
        return wholeAnswerOf(source, parseExact(body.toString()), {
          answer: (events) =>
            reader === "canonical" ? events : Buffer.from(reader.codec.writeAnswer(events, reader.options)),
          error: undefined,
        });
      } catch {
        return { kind: "malformed" }; // it cannot be said in the client's dialect
      }
    },
  };
}

function translateStream(source: Source, to: Reader): StreamPath {
  const splitter = createFrameSplitter(source.framing);
  const reader = source.createFrameReader();
  const watch = createEventWatch(reader);
  const writer = to === "canonical" ? undefined : to.codec.createFrameWriter(to.options);
  const framing = to === "canonical" ? "sse" : to.codec.framing;
  const frames: Frame[] = [];
  const repeats = writer && source.framing === "sse" ? createTextRepeats(reader, writer, framing) : undefined;

  /** @returns the event of the last frame, when that gave one and no more */
  function read(events: GenerateEvent[]): GenerateEvent | undefined {
    let last: GenerateEvent | undefined;
    for (const { type, data } of frames) {
      const before = events.length;
      reader.read(type, data, events);
      last = events.length === before + 1 ? events[before] : undefined;
      if (reader.complete || reader.fault !== undefined) break;
    }
    if (!reader.complete) watch.fail(splitter.fault);
    return last;
  }

  function handOn(events: GenerateEvent[]): Piece | undefined {
    if (events.length === 0) return undefined;
    watch.see(events);
    if (writer === undefined) return events;
    try {
      return writeEvents(writer, framing, events);
    } catch {
      watch.fail({ kind: "malformed" }); // it cannot be said in the client's dialect
      return undefined;
    }
  }

  return {
    push(bytes) {
      if (watch.facts.fault !== undefined || reader.complete) return undefined;
      const texts = repeats?.pass(bytes);
      if (texts !== undefined) {
        for (const length of texts.lengths) watch.seeText(length);
        return texts.bytes;
      }
      const events: GenerateEvent[] = [];
      frames.length = 0;
      splitter.push(bytes, frames);
      const last = read(events);
      const piece = handOn(events);
      repeats?.follow(bytes, frames.at(-1), watch.facts.fault === undefined ? last : undefined);
      return piece;
    },
    end() {
      if (watch.facts.fault !== undefined || reader.complete) return undefined;
      const events: GenerateEvent[] = [];
      frames.length = 0;
      splitter.end(frames);
      read(events);
      if (watch.facts.fault === undefined && !reader.complete) reader.finish(events);
      return handOn(events);
    },
    facts: watch.facts,
    contentEvents: watch.contentEvents,
    outputTokens: watch.outputTokens,
  };
}

function writeEvents(
  writer: FrameWriter,
  framing: Codec["framing"],
  events: readonly GenerateEvent[],
): Buffer | undefined {
  const [first] = events;
  const frames = events.length === 1 && first ? writer.write(first) : events.flatMap((event) => writer.write(event));
  if (frames.length === 0) return undefined;
  const bytes = writeFrames(framing, frames);
  return typeof bytes === "string" ? Buffer.from(bytes) : bytes;
}
