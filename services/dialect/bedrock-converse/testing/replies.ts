import type { JsonObject } from "@bufbuild/protobuf";
import type { Citation, Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../../events.ts";
import { rawJson, writeJson } from "../../json.ts";

// Replies that this dialect can express and gives back unchanged, with their deltas cut anywhere.

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
const word = fc.stringMatching(/^[a-z][\w-]{0,12}$/);
const someBytes = fc.uint8Array({ minLength: 1, maxLength: 8 });

/** The events of one part, given its index. */
type PartEvents = (part: number) => readonly GenerateEvent[];

/** A text in pieces that make it up again. */
function pieces(whole: fc.Arbitrary<string>): fc.Arbitrary<readonly string[]> {
  return fc.tuple(whole, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 })).map(([all, cuts]) => {
    const at = [0, ...cuts.map((cut) => Math.floor(cut * all.length)).toSorted((a, b) => a - b), all.length];
    return at.slice(1).map((end, index) => all.slice(at[index], end));
  });
}

const source = fc.record({
  title: fc.oneof(fc.constant(""), text),
  url: fc.constantFrom("", "https://example.com/a"),
  quote: fc.oneof(fc.constant(""), text),
});

function cite(facts: { title: string; url: string; quote: string }, end: number): Citation {
  return { $typeName: "weir.chat.v1.Citation", start: 0, end, ...facts };
}

const textPart: fc.Arbitrary<PartEvents> = fc
  .tuple(pieces(text), fc.array(source, { maxLength: 2 }))
  .map(([list, sources]) => (part) => [
    ...list.map((piece) => textEvent(0, part, piece)),
    ...sources.map((facts) => citationEvent(0, part, cite(facts, Array.from(list.join("")).length))),
  ]);

// Of this vendor, of others (bytes that are no text, sealed and shown, with an id), and without any proof.
const reasoningPart: fc.Arbitrary<PartEvents> = fc.oneof(
  fc
    .tuple(
      pieces(text),
      fc.oneof(
        someBytes,
        text.map((proof) => Buffer.from(proof)),
      ),
    )
    .map(([list, signature]) => (part: number) => [
      ...list.map((piece) => reasoningEvent(0, part, { text: piece })),
      reasoningEvent(0, part, { signature }),
    ]),
  fc.tuple(pieces(text), someBytes, word).map(([list, sealed, id]) => (part: number) => [
    reasoningEvent(0, part, { id }),
    ...list.map((piece) => reasoningEvent(0, part, { text: piece })),
    reasoningEvent(0, part, { sealed }),
  ]),
  someBytes.map((sealed) => (part: number) => [reasoningEvent(0, part, { sealed })]),
  pieces(text).map((list) => (part: number) => list.map((piece) => reasoningEvent(0, part, { text: piece }))),
);

const longNumber = fc.constantFrom("12345678901234567890", "0.12345678901234567890").map(rawJson);
const argumentText = fc
  .dictionary(word, fc.oneof(fc.string({ unit: "grapheme" }), fc.integer(), longNumber), { maxKeys: 3 })
  .map(writeJson);

const toolPart: fc.Arbitrary<PartEvents> = fc
  .tuple(word, word, pieces(argumentText), fc.option(someBytes, { nil: undefined }))
  .map(([id, name, list, signature]) => (part) => [
    // Ids differ within a reply.
    toolCallEvent(0, part, { id: `${id}-${part}`, name }),
    ...list.map((piece) => toolCallEvent(0, part, { arguments: piece })),
    ...(signature === undefined ? [] : [toolCallEvent(0, part, { signature })]),
  ]);

const imagePart: fc.Arbitrary<PartEvents> = fc
  .tuple(
    fc.constantFrom("image/png", "image/webp"),
    fc.oneof(
      fc.uint8Array({ maxLength: 8 }).map((value) => ({ case: "data" as const, value })),
      word.map((name) => ({ case: "url" as const, value: `s3://bucket/${name}` })),
    ),
  )
  .map(([mediaType, from]) => (part) => [
    imageEvent(0, part, { $typeName: "weir.chat.v1.Media", source: from, mediaType, filename: "", detail: "" }),
  ]);

/** Counts whose parts are within their totals. */
export const usages: fc.Arbitrary<Usage> = fc
  .record(
    {
      plain: fc.nat(1_000_000),
      cached: fc.nat(1_000_000),
      written: fc.nat(1_000_000),
      output: fc.nat(1_000_000),
      long: fc.double({ min: 0, max: 1, noNaN: true }),
    },
    { requiredKeys: ["plain", "output"] },
  )
  .map(({ plain, cached, written, output, long }) => ({
    $typeName: "weir.common.v1.Usage",
    inputTokens: plain + (cached ?? 0) + (written ?? 0),
    ...(cached === undefined ? {} : { cachedInputTokens: cached }),
    ...(written === undefined ? {} : { cacheWriteTokens: written }),
    ...(written === undefined || long === undefined ? {} : { cacheWriteLongTokens: Math.floor(written * long) }),
    outputTokens: output,
    serverToolUses: {},
  }));

const stops = fc.constantFrom(
  [StopReason.END, "end_turn"],
  [StopReason.TOOL_CALLS, "tool_use"],
  [StopReason.LENGTH, "max_tokens"],
  [StopReason.STOP_SEQUENCE, "stop_sequence"],
  [StopReason.CONTENT_FILTER, "guardrail_intervened"],
  [StopReason.CONTEXT_FULL, "model_context_window_exceeded"],
  [StopReason.UNSPECIFIED, "malformed_tool_use"],
) as fc.Arbitrary<readonly [StopReason, string]>;

const ends: fc.Arbitrary<GenerateEvent> = fc
  .tuple(
    stops,
    fc.option(text, { nil: undefined }),
    fc.option(usages, { nil: undefined }),
    fc.record(
      {
        metrics: fc.nat().map((latencyMs) => ({ latencyMs })),
        trace: fc.constant({ guardrail: { actionReason: "none" } }),
      },
      { requiredKeys: ["metrics"] },
    ),
  )
  .map(([[reason, raw], sequence, usage, told]) => {
    // The vendor tells the sequence among the model's own fields, which are kept as they are.
    const fields = sequence === undefined ? {} : { additionalModelResponseFields: { stop_sequence: sequence } };
    const details = { ...fields, ...told } as JsonObject;
    return endEvent([choiceEnd(0, reason, raw, sequence ?? "")], usage, details);
  });

/** What clients send to be told the stop sequence. */
export const askingRequest = { additionalModelResponseFieldPaths: ["/stop_sequence"] };

/** The events of whole replies. */
export const replies: fc.Arbitrary<readonly GenerateEvent[]> = fc
  .tuple(fc.array(fc.oneof(textPart, reasoningPart, toolPart, imagePart), { maxLength: 4 }), ends)
  .map(([parts, end]) => [
    startEvent({ id: "", model: "" }),
    ...parts.flatMap((eventsOf, index) => eventsOf(index)),
    end,
  ]);

interface Joined {
  readonly parts: readonly (readonly [number, Readonly<Record<string, unknown>>])[];
  readonly others: readonly unknown[];
}

/** What a reply says, however its deltas are cut. */
export function joined(events: readonly GenerateEvent[]): Joined {
  const parts = new Map<number, Record<string, unknown>>();
  const others: unknown[] = [];
  for (const { kind } of events) {
    if (kind.case === "citation") {
      const part = partOf(parts, kind.value.part);
      part["citations"] = [...((part["citations"] as unknown[] | undefined) ?? []), kind.value.citation];
    } else if (kind.case !== "delta") others.push(kind);
    else addTo(partOf(parts, kind.value.part), kind.value.content.case ?? "", kind.value.content.value);
  }
  return { parts: [...parts.entries()], others };
}

function partOf(parts: Map<number, Record<string, unknown>>, index: number): Record<string, unknown> {
  const part = parts.get(index) ?? {};
  parts.set(index, part);
  return part;
}

function addTo(part: Record<string, unknown>, kind: string, value: unknown): void {
  if (typeof value === "string") part[kind] = `${(part[kind] as string | undefined) ?? ""}${value}`;
  else if (kind === "image") part[kind] = plainImage(value as Media);
  else {
    for (const [name, piece] of Object.entries(value as object)) {
      const key = `${kind}.${name}`;
      if (name === "$typeName") continue;
      if (piece instanceof Uint8Array) {
        if (piece.length > 0) part[key] = Buffer.from(piece).toString("hex");
      } else if (name === "text" || name === "arguments")
        part[key] = `${(part[key] as string | undefined) ?? ""}${piece}`;
      else if (piece !== "") part[key] = piece;
    }
  }
}

function plainImage({ mediaType, source: from }: Media): unknown {
  return { mediaType, source: from.case === "data" ? Buffer.from(from.value).toString("hex") : from.value };
}
