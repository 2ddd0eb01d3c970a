import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { ollama } from "./codec.ts";
import { numRuns, options, writeFrames, readFrames, stream, parse, joined, usageOf } from "./testing/answers.ts";

// --- Law: what the dialect can express survives the way there and back.

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 8 });
const word = fc.stringMatching(/^[a-z]\w{0,7}$/);
const argumentText = fc.oneof(
  fc
    .dictionary(fc.string({ maxLength: 4 }), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 })
    .map((it) => JSON.stringify(it)),
  fc.constant('{"n":12345678901234567890}'),
);
const token = fc.record({
  $typeName: fc.constant("weir.chat.v1.TokenLogprob" as const),
  token: fc.string({ maxLength: 3 }),
  logprob: fc.double({ max: 0, noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  bytes: fc.uint8Array({ maxLength: 3 }).map((bytes) => Uint8Array.from(bytes)),
});
const logprobs = fc.array(
  fc
    .tuple(token, fc.array(token, { maxLength: 2 }))
    .map(([chosen, top]): TokenLogprob => ({ ...chosen, top: top.map((it) => ({ ...it, top: [] })) })),
  { maxLength: 2 },
);

/** Makes the events of a part, given its number. */
type PartMaker = (part: number) => GenerateEvent[];

const textPart = fc.array(fc.tuple(someText, logprobs), { minLength: 1, maxLength: 3 }).map(
  (pieces): PartMaker =>
    (part) =>
      pieces.map(([text, list]) => textEvent(0, part, text, list)),
);
const reasoningPart = fc.array(someText, { minLength: 1, maxLength: 2 }).map(
  (pieces): PartMaker =>
    (part) =>
      pieces.map((text) => reasoningEvent(0, part, { text })),
);
const callPart = fc.record({ id: word, name: word, arguments: argumentText }).map(
  (call): PartMaker =>
    (part) => [toolCallEvent(0, part, call)],
);

const counts = fc.record({ inputTokens: fc.nat(), outputTokens: fc.nat() }, { requiredKeys: [] }).map(usageOf);
const details = fc.option(fc.constant({ total_duration: 5_191_566_416, eval_duration: 7 }), { nil: undefined });

function reply(parts: readonly PartMaker[], calls: boolean) {
  return fc
    .record({
      usage: fc.option(
        counts.filter(({ inputTokens, outputTokens }) => inputTokens !== undefined || outputTokens !== undefined),
        { nil: undefined },
      ),
      length: fc.boolean(),
      details,
      createTimeMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
    })
    .map(({ usage, length, details: found, createTimeMs }) => {
      const reason = length ? StopReason.LENGTH : calls ? StopReason.TOOL_CALLS : StopReason.END;
      return [
        startEvent({ id: "", model: "m", createTimeMs }),
        ...parts.flatMap((make, part) => make(part)),
        endEvent([choiceEnd(0, reason, length ? "length" : "stop")], usage, found),
      ];
    });
}

const wholeReply = fc
  .tuple(
    fc.array(reasoningPart, { maxLength: 1 }),
    fc.array(textPart, { maxLength: 1 }),
    fc.array(callPart, { maxLength: 3 }),
  )
  .chain(([thoughts, texts, calls]) => reply([...thoughts, ...texts, ...calls], calls.length > 0));

const streamedReply = fc
  .array(
    fc.tuple(
      fc.array(reasoningPart, { maxLength: 1 }),
      fc.array(textPart, { maxLength: 1 }),
      fc.array(callPart, { maxLength: 2 }),
    ),
    { maxLength: 2 },
  )
  // Two texts that follow each other would be one.
  .filter((turns) => turns.slice(0, -1).every(([, , calls]) => calls.length > 0))
  .chain((turns) =>
    reply(
      turns.flat(2),
      turns.some(([, , calls]) => calls.length > 0),
    ),
  );

test("a whole answer survives the way to JSON and back", () => {
  fc.assert(
    fc.property(wholeReply, (events) => {
      const reading = ollama.readAnswer(parse(ollama.writeAnswer(events, options)));
      expect(joined(reading?.events ?? [])).toEqual(joined(events));
    }),
    { numRuns },
  );
});

test("a streamed answer survives the way to lines and back", () => {
  fc.assert(
    fc.property(streamedReply, (events) => {
      const reading = stream(events);
      expect(reading).toMatchObject({ complete: true, fault: undefined });
      expect(joined(reading.events)).toEqual(joined(events));
    }),
    { numRuns },
  );
});

test("a stream cut after any line gives the same events so far, and no end", () => {
  fc.assert(
    fc.property(streamedReply, fc.nat(), (events, at) => {
      const lines = writeFrames(events).map(({ data }) => data);
      const kept = lines.slice(0, at % lines.length);
      const reading = readFrames(kept);
      expect(reading).toMatchObject({ complete: false, fault: undefined });
      expect(reading.events.some(({ kind }) => kind.case === "end")).toBe(false);
      expect(readFrames(lines).events.slice(0, reading.events.length)).toEqual(reading.events);
    }),
    { numRuns },
  );
});
