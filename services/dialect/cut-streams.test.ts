import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { describe, expect, test } from "vitest";
import type { Codec, Frame } from "./codec.ts";
import { createFrameSplitter } from "./framing/splitter.ts";
import { streams } from "./testing/streams.ts";

interface Reading {
  readonly events: GenerateEvent[];
  /** Whether the answer counts as whole. */
  readonly whole: boolean;
}

/** Reads pieces of bytes as the pool does. @param ended whether the connection ends in order after them */
function read(codec: Codec, pieces: readonly Buffer[], ended: boolean): Reading {
  const splitter = createFrameSplitter(codec.framing);
  const reader = codec.createFrameReader();
  const events: GenerateEvent[] = [];
  const readFrames = (cut: (out: Frame[]) => void) => {
    const frames: Frame[] = [];
    cut(frames);
    for (const { type, data } of frames) reader.read(type, data, events);
  };
  // A splitter keeps what it is given, as pieces of their own from a socket.
  for (const piece of pieces) readFrames((out) => splitter.push(Buffer.from(piece), out));
  if (ended && !reader.complete) readFrames((out) => splitter.end(out));
  const sound = splitter.fault === undefined && reader.fault === undefined;
  if (ended && sound && !reader.complete) reader.finish(events);
  return { events, whole: reader.complete && sound };
}

/** What the answer says, without how it ended and what it cost. */
const said = (events: readonly GenerateEvent[]) =>
  events.filter(({ kind }) => kind.case === "delta" || kind.case === "citation");

describe.each(streams)("$codec.name: $name", ({ codec, bytes }) => {
  const { events: all, whole } = read(codec, [bytes], true);
  const offsets = Array.from(bytes, (_, offset) => offset);

  test("is read whole", () => {
    expect(whole).toBe(true);
    expect(said(all).length).toBeGreaterThan(0);
    expect(all.at(-1)?.kind.case).toBe("end");
  });

  test("cut in two at every byte, it gives the same events", () => {
    for (const offset of offsets) {
      const { events, whole: same } = read(codec, [bytes.subarray(0, offset), bytes.subarray(offset)], true);
      expect(same).toBe(true);
      expect(events).toEqual(all);
    }
  });

  test("byte by byte, it gives the same events", () => {
    const pieces = offsets.map((offset) => bytes.subarray(offset, offset + 1));
    expect(read(codec, pieces, true)).toEqual({ events: all, whole: true });
  });

  test("broken off at any byte, it gives a beginning of them, and is whole only when nothing said is missing", () => {
    for (const offset of offsets) {
      for (const ended of [false, true]) {
        const { events, whole: complete } = read(codec, [bytes.subarray(0, offset)], ended);
        expect(said(events)).toEqual(said(all).slice(0, said(events).length));
        if (complete) expect(said(events)).toEqual(said(all));
        // Without the end there is no end of a reply, and the other way round.
        expect(events.some(({ kind }) => kind.case === "end")).toBe(complete);
      }
    }
  });
});
