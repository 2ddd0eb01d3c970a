import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { expect } from "vitest";
import type { AnswerOptions, Codec } from "../../codec.ts";
import { type JsonObject, parseExact } from "../../json.ts";

// What the tests of the two dialects of one text share.

export const options: AnswerOptions = { id: "x", createTimeMs: 5_999, model: "alias", includeUsage: true, request: {} };

/** The data of a stream's frames. */
export function write(codec: Codec, events: readonly GenerateEvent[], further: Partial<AnswerOptions> = {}): string[] {
  const writer = codec.createFrameWriter({ ...options, ...further });
  const frames = events.flatMap((event) => writer.write(event));
  expect(frames.every(({ type }) => type === "")).toBe(true);
  return frames.map(({ data }) => data);
}

/** Reads a stream; `finish` tells whether it ended in order. */
export function read(codec: Codec, frames: readonly string[], finish = true) {
  const reader = codec.createFrameReader();
  const events: GenerateEvent[] = [];
  for (const data of frames) reader.read("", data, events);
  if (finish) reader.finish(events);
  return { events, complete: reader.complete, fault: reader.fault, usage: reader.usage };
}

export function parse(text: string): JsonObject {
  const json = parseExact(text);
  if (json === undefined) throw new Error("is no JSON object");
  return json;
}

/** The texts and probabilities of each choice, and what is no text. */
export function joined(events: readonly GenerateEvent[]) {
  const texts = new Map<number, { text: string; logprobs: TokenLogprob[] }>();
  const others: unknown[] = [];
  for (const { kind } of events) {
    if (kind.case !== "delta" || kind.value.content.case !== "text") {
      others.push(kind);
      continue;
    }
    const { choice, content, logprobs } = kind.value;
    const found = texts.get(choice) ?? { text: "", logprobs: [] };
    texts.set(choice, { text: found.text + content.value, logprobs: [...found.logprobs, ...logprobs] });
  }
  return { texts: [...texts].sort(([a], [b]) => a - b), others };
}

export const usageOf = (counts: Partial<Usage>): Usage => ({
  $typeName: "weir.common.v1.Usage",
  serverToolUses: {},
  ...counts,
});

const part = (total: number) => fc.option(fc.nat({ max: total }), { nil: undefined });
/** Counts of which each part fits its total. */
export const usage = fc.tuple(fc.nat(), fc.nat()).chain(([inputTokens, outputTokens]) =>
  fc
    .record({
      cachedInputTokens: fc.nat({ max: Math.floor(inputTokens / 2) }),
      cacheWriteTokens: part(Math.floor(inputTokens / 2)),
      audioInputTokens: part(inputTokens),
      imageInputTokens: part(inputTokens),
      reasoningTokens: part(outputTokens),
      audioOutputTokens: part(outputTokens),
      acceptedPredictionTokens: part(outputTokens),
      rejectedPredictionTokens: part(outputTokens),
    })
    .map((parts) => usageOf({ inputTokens, outputTokens, ...parts })),
);

/** How a text may end, with this dialect's words. */
export const ends = [
  [StopReason.END, "stop"],
  [StopReason.LENGTH, "length"],
  [StopReason.CONTENT_FILTER, "content_filter"],
] as const;

/** Checks that a whole answer survives the way to JSON and back. */
export function expectWholeRoundTrip(codec: Codec, events: readonly GenerateEvent[]): void {
  const reading = codec.readAnswer(parse(codec.writeAnswer(events, options)));
  const last = events.at(-1)?.kind;
  expect(joined(reading?.events ?? [])).toEqual(joined(events));
  expect(reading?.usage?.usage).toEqual(last?.case === "end" ? last.value.usage : undefined);
  expect(reading?.usage?.sound ?? true).toBe(true);
}

/** Checks that a streamed answer survives the way to frames and back. */
export function expectStreamRoundTrip(codec: Codec, events: readonly GenerateEvent[]): void {
  const reading = read(codec, write(codec, events));
  expect(reading).toMatchObject({ complete: true, fault: undefined });
  expect(joined(reading.events)).toEqual(joined(events));
}

/** Checks that a stream cut after some frame, without an end in order, gives the same events so far and no end. */
export function expectCut(codec: Codec, events: readonly GenerateEvent[], at: number): void {
  const frames = write(codec, events);
  const reading = read(codec, frames.slice(0, at % frames.length), false);
  expect(reading).toMatchObject({ complete: false, fault: undefined });
  expect(reading.events.some(({ kind }) => kind.case === "end")).toBe(false);
  expect(read(codec, frames).events.slice(0, reading.events.length)).toEqual(reading.events);
}
