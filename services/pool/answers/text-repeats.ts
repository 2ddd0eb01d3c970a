import { isUtf8 } from "node:buffer";
import type { Codec, Frame, FrameReader, FrameWriter, TextShape } from "@weir/dialect/codec";
import { writeFrames } from "@weir/dialect/framing/writer";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";

/**
 * Pieces of text that come one after another, on their way from one dialect to another without being parsed: most frames of a stream
 * differ from the one before in their text alone.
 */
export interface TextRepeats {
  /**
   * What becomes of bytes that are whole events like the last one that was followed.
   * @returns undefined when others are among them, or texts that do not stand for themselves in JSON: those are to be read
   */
  pass(bytes: Buffer): PassedTexts | undefined;
  /**
   * Takes note of what was read and written.
   * @param frame the last one that the bytes completed
   * @param event what the frame was read as; undefined when that was anything but one event, or could not be written
   */
  follow(bytes: Buffer, frame: Frame | undefined, event: GenerateEvent | undefined): void;
}

export interface PassedTexts {
  /** The client's frames. */
  readonly bytes: Buffer;
  /** Of each text, in UTF-16; none is 0. */
  readonly lengths: readonly number[];
}

/** What passes bytes of one shape. */
type Pattern = TextRepeats["pass"];

/** As much as one read from a socket gives; longer bytes are read, which knows how long an event may be. */
const bytesMax = 65_536;
/** How often in a row a shape is looked for in vain: it takes as long as a translation, and what it finds saves as much each time. */
const triesMax = 8;

/**
 * @param reader reads the provider's frames, of which only server-sent events repeat
 * @param framing the writer's
 */
export function createTextRepeats(reader: FrameReader, writer: FrameWriter, framing: Codec["framing"]): TextRepeats {
  let pattern: Pattern | undefined;
  let triesLeft = triesMax;

  function find(bytes: Buffer, frame: Frame, event: GenerateEvent): Pattern | undefined {
    const { kind } = event;
    if (kind.case !== "delta" || kind.value.content.case !== "text" || frame.type !== "") return undefined;
    if (triesLeft === 0) return undefined;
    triesLeft -= 1;
    // Nothing may be left of the bytes, so that the next ones begin an event.
    const block = Buffer.from(writeFrames("sse", [frame]));
    if (!bytes.subarray(-block.length).equals(block)) return undefined;
    const shape = reader.textShapeOf?.(frame.data, event);
    return shape && patternOf(shape, writer, framing);
  }

  return {
    pass(bytes) {
      const texts = pattern?.(bytes);
      if (texts !== undefined && triesLeft < triesMax) triesLeft += 1;
      return texts;
    },
    follow(bytes, frame, event) {
      pattern = frame && event && find(bytes, frame, event);
    },
  };
}

/** @returns undefined when the writer's frames must be written one by one */
function patternOf(
  { choice, part, pieces }: TextShape,
  writer: FrameWriter,
  framing: Codec["framing"],
): Pattern | undefined {
  const frame = writer.textFrame?.(choice, part);
  if (frame === undefined) return undefined;
  const [before, after] = aroundText({ type: frame.type, data: frame.around.join(place) }, framing);
  const [first, ...others] = aroundText({ type: "", data: pieces.join(place) }, "sse");

  return (bytes) => {
    if (bytes.length === 0 || bytes.length > bytesMax) return undefined;
    // A character for each byte: looking at so few bytes costs less in a string than in their own memory.
    const block = bytes.toString("latin1");
    const lengths: number[] = [];
    let written = "";
    let isAscii = true;
    for (let at = 0; at < block.length; ) {
      if (!hasAt(block, at, first)) return undefined;
      const start = at + first.length;
      const end = block.indexOf('"', start);
      if (end <= start) return undefined;
      const text = block.slice(start, end);
      if (plainAscii.test(text)) lengths.push(text.length);
      else if (notPlain.test(text)) return undefined;
      else {
        isAscii = false;
        lengths.push(Buffer.from(text, "latin1").toString().length);
      }
      written += before + text + after;
      at = restEnd(block, end, others);
      if (at < 0) return undefined;
    }
    if (!isAscii && !isUtf8(bytes)) return undefined;
    return { bytes: Buffer.from(written, "latin1"), lengths };
  };
}

/** What stands around the places of a frame, a character for each byte. */
function aroundText(frame: Frame, framing: Codec["framing"]): readonly [string, string, ...string[]] {
  const [first = "", second = "", ...others] = Buffer.from(writeFrames(framing, [frame]))
    .toString("latin1")
    .split(place);
  return [first, second, ...others];
}

/** Where an event ends whose text ends at an offset; -1 when it is of another shape. */
function restEnd(block: string, textEnd: number, pieces: readonly string[]): number {
  let at = textEnd;
  let start = textEnd;
  for (const piece of pieces) {
    if (at > textEnd) {
      at = block.indexOf('"', start);
      if (at < 0 || notPlain.test(block.slice(start, at))) return -1;
    }
    if (!hasAt(block, at, piece)) return -1;
    at += piece.length;
    start = at;
  }
  return at;
}

/** As `startsWith`, which takes ten times as long for a text that is cut from a longer one. */
function hasAt(text: string, at: number, piece: string): boolean {
  return text.slice(at, at + piece.length) === piece;
}

/** What JSON does not hold, so that it marks a place. */
const place = "\0";
const plainAscii = /^[ !#-[\]-~]*$/;
const notPlain = /[^ -[\]-\u00FF]/;
