import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions, Frame } from "../codec.ts";
import { createFrameReader } from "./frame-reader.ts";
import { createFrameWriter } from "./frame-writer.ts";
import { clientRequest, replies, whole } from "./testing/replies.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);

const options: AnswerOptions = {
  id: "chatcmpl-own",
  createTimeMs: 1_000,
  model: "alias",
  includeUsage: true,
  request: clientRequest,
};

function write(events: readonly GenerateEvent[]): Frame[] {
  const writer = createFrameWriter(options);
  return events.flatMap((event) => writer.write(event));
}

function read(frames: readonly Frame[]) {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  for (const { type, data } of frames) reader.read(type, data, events);
  return { events, reader };
}

test(
  "a stream comes back as it was, part by part",
  () => {
    fc.assert(
      fc.property(replies, (events) => {
        const { events: back, reader } = read(write(events));
        expect(reader.fault).toBeUndefined();
        expect(reader.complete).toBe(true);
        expect(whole(back, "as numbered")).toEqual(whole(events, "as numbered"));
        expect(reader.usage?.sound ?? true).toBe(true);
      }),
      { numRuns },
    );
  },
  20_000 + numRuns * 20,
);

test(
  "a stream that is cut after any frame says what it said so far, and never that it ended",
  () => {
    fc.assert(
      fc.property(replies, (events) => {
        const frames = write(events);
        const { events: all } = read(frames);
        for (let cut = 0; cut < frames.length; cut += 1) {
          const { events: some, reader } = read(frames.slice(0, cut));
          expect(some).toEqual(all.slice(0, some.length));
          expect(reader.complete).toBe(false);
          expect(some.some(({ kind }) => kind.case === "end")).toBe(false);
        }
      }),
      { numRuns: Math.ceil(numRuns / 5) },
    );
  },
  20_000 + numRuns * 20,
);
