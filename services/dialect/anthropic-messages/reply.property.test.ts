import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions, Frame } from "../codec.ts";
import { choiceEnd, citationEvent, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { parseExact, writeJson } from "../json.ts";
import { readCitation } from "./citations.ts";
import { anthropicMessages } from "./codec.ts";
import { servedInItsTier } from "../testing/service-tier.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);
const timeout = 600_000;

const options: AnswerOptions = { id: "msg_weir", createTimeMs: 0, model: "m", includeUsage: true, request: {} };

const anyText = fc.string({ unit: "binary", maxLength: 12 });
const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const someBytes = fc.uint8Array({ minLength: 1, maxLength: 12 });
const proof = fc.oneof(
  someBytes,
  someText.map((text) => Buffer.from(text)),
);

/** A piece of a reply, before it has a part number. */
type Piece = (part: number) => GenerateEvent[];

const citation = fc.record({
  type: fc.constantFrom("char_location", "web_search_result_location"),
  title: anyText,
  url: anyText,
  cited_text: anyText,
});

const textPiece = fc
  .tuple(fc.array(someText, { minLength: 1, maxLength: 4 }), fc.array(citation, { maxLength: 2 }))
  .map(
    ([texts, citations]): Piece =>
      (part) => [
        ...texts.map((text) => textEvent(0, part, text)),
        ...citations.map((json) => citationEvent(0, part, readCitation(json, [...texts.join("")].length))),
      ],
  );

const reasoningPiece = fc
  .tuple(
    fc.array(someText, { maxLength: 3 }),
    fc.record({ signature: proof, sealed: proof, id: someText }, { requiredKeys: [] }),
  )
  .filter(([texts, proofs]) => texts.length + Object.keys(proofs).length > 0)
  .map(
    ([texts, { id, ...proofs }]): Piece =>
      (part) => [
        ...(id === undefined ? [] : [reasoningEvent(0, part, { id })]),
        ...texts.map((text) => reasoningEvent(0, part, { text })),
        ...Object.entries(proofs).map(([name, bytes]) => reasoningEvent(0, part, { [name]: bytes })),
      ],
  );

function callPiece(json: fc.Arbitrary<string>) {
  return fc
    .tuple(
      fc.uuid(),
      someText,
      json,
      fc.array(fc.nat(200), { maxLength: 4 }),
      fc.option(proof, { nil: undefined }),
      fc.boolean(),
    )
    .map(
      ([id, name, text, cuts, signature, signedFirst]): Piece =>
        (part) => {
          const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)).toSorted((a, b) => a - b), text.length];
          const pieces = places.slice(1).map((end, index) => text.slice(places[index], end));
          const signed = signature === undefined ? {} : { signature };
          return [
            toolCallEvent(0, part, { id, name, ...(signedFirst ? signed : {}) }),
            ...pieces.map((piece) => toolCallEvent(0, part, { arguments: piece })),
            ...(signedFirst || signature === undefined ? [] : [toolCallEvent(0, part, signed)]),
          ];
        },
    );
}

const jsonText = fc
  .tuple(
    fc.dictionary(anyText, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
    fc.constantFrom("1", "12345678901234567890"),
  )
  .map(([members, long]) => writeJson(parseExact(JSON.stringify({ ...members, long: 0 }).replace(/0\}$/, `${long}}`))));

const ending = fc.oneof(
  fc.constantFrom(
    choiceEnd(0, StopReason.END, "end_turn"),
    choiceEnd(0, StopReason.LENGTH, "max_tokens"),
    choiceEnd(0, StopReason.TOOL_CALLS, "tool_use"),
    choiceEnd(0, StopReason.CONTENT_FILTER, "refusal"),
    choiceEnd(0, StopReason.CONTEXT_FULL, "model_context_window_exceeded"),
    choiceEnd(0, StopReason.PAUSED, "pause_turn"),
  ),
  someText.map((sequence) => choiceEnd(0, StopReason.STOP_SEQUENCE, "stop_sequence", sequence)),
);

const tokens = fc.nat(1_000_000);
function usageOf(withLifetimes: boolean): fc.Arbitrary<Usage> {
  return fc
    .record(
      {
        plain: tokens,
        cached: tokens,
        short: tokens,
        long: tokens,
        output: tokens,
        searches: fc.nat(9),
        fetches: fc.nat(9),
      },
      { requiredKeys: ["plain", "output"] },
    )
    .map(({ plain, cached, short, long, output, searches = 0, fetches = 0 }) => {
      const written = short === undefined ? undefined : short + (withLifetimes ? (long ?? 0) : 0);
      return {
        $typeName: "weir.common.v1.Usage",
        inputTokens: plain + (cached ?? 0) + (written ?? 0),
        ...(cached === undefined ? {} : { cachedInputTokens: cached }),
        ...(written === undefined ? {} : { cacheWriteTokens: written }),
        ...(written === undefined || long === undefined || !withLifetimes ? {} : { cacheWriteLongTokens: long }),
        outputTokens: output,
        ...(output % 2 === 0 ? { reasoningTokens: output / 2 } : {}),
        serverToolUses: {
          ...(searches === 0 ? {} : { web_search: searches }),
          ...(fetches === 0 ? {} : { web_fetch: fetches }),
        },
      };
    });
}

const details = fc.option(
  fc.record(
    {
      stop_details: fc.constant({ type: "refusal", category: "cyber", explanation: null }),
      container: fc.record({ id: anyText, expires_at: anyText }),
    },
    { requiredKeys: ["container"] },
  ),
  { nil: undefined },
);

function reply(json: fc.Arbitrary<string>, withLifetimes: boolean): fc.Arbitrary<GenerateEvent[]> {
  return fc
    .tuple(
      fc.record({ id: someText, model: someText, serviceTier: fc.constantFrom("", "standard", "priority") }),
      fc.array(fc.oneof(textPiece, reasoningPiece, callPiece(json)), { maxLength: 4 }),
      ending,
      usageOf(withLifetimes),
      details,
    )
    .map(([start, pieces, end, usage, more]) =>
      servedInItsTier([
        startEvent(start),
        ...pieces.flatMap((piece, part) => piece(part)),
        endEvent([end], usage, more),
      ]),
    );
}

interface Said {
  text: string;
  readonly citations: unknown[];
  reasoning: string;
  signature: string;
  sealed: string;
  id: string;
  name: string;
  arguments: string;
}

/** What events say, however it is cut into deltas. */
function meaning(events: readonly GenerateEvent[]) {
  const parts = new Map<number, Said>();
  const said = (part: number): Said => {
    const empty = {
      text: "",
      citations: [],
      reasoning: "",
      signature: "",
      sealed: "",
      id: "",
      name: "",
      arguments: "",
    };
    const known = parts.get(part) ?? empty;
    parts.set(part, known);
    return known;
  };
  const rest: unknown[] = [];
  for (const { kind } of events) {
    if (kind.case === "citation") said(kind.value.part).citations.push(kind.value.citation);
    else if (kind.case === "delta") {
      const { part, content } = kind.value;
      const known = said(part);
      if (content.case === "text") known.text += content.value;
      else if (content.case === "reasoning" || content.case === "toolCall") {
        const { id, signature } = content.value;
        if (id !== "") known.id = id;
        if (signature.length > 0) known.signature = Buffer.from(signature).toString("hex");
        if (content.case === "toolCall") {
          known.name += content.value.name;
          known.arguments += content.value.arguments;
        } else {
          known.reasoning += content.value.text;
          if (content.value.sealed.length > 0) known.sealed = Buffer.from(content.value.sealed).toString("hex");
        }
      }
    } else if (kind.case !== "usage") rest.push(kind);
  }
  return { parts: [...parts.entries()], rest };
}

function framesOf(events: readonly GenerateEvent[]): Frame[] {
  const writer = anthropicMessages.createFrameWriter(options);
  return events.flatMap((event) => writer.write(event));
}

function readFrames(frames: readonly Frame[]) {
  const reader = anthropicMessages.createFrameReader();
  const events: GenerateEvent[] = [];
  for (const { type, data } of frames) reader.read(type, data, events);
  reader.finish(events);
  return { events, reader };
}

test("a whole answer comes back as it was", { timeout }, () => {
  fc.assert(
    fc.property(reply(jsonText, true), (events) => {
      const json = parseExact(anthropicMessages.writeAnswer(events, options)) ?? {};
      const read = anthropicMessages.readAnswer(json);
      expect(meaning(read?.events ?? [])).toEqual(meaning(events));
      expect(read?.usage?.sound).toBe(true);
    }),
    { numRuns },
  );
});

test("a stream comes back as it was, arguments byte for byte", { timeout }, () => {
  fc.assert(
    fc.property(reply(fc.oneof(jsonText, someText), false), (events) => {
      const { events: read, reader } = readFrames(framesOf(events));
      expect(reader.fault).toBeUndefined();
      expect(reader.complete).toBe(true);
      expect(reader.usage?.sound).toBe(true);
      expect(meaning(read)).toEqual(meaning(events));
    }),
    { numRuns },
  );
});

test("a stream that is cut after any frame says the same so far, and never that it ended", { timeout }, () => {
  fc.assert(
    fc.property(reply(jsonText, false), (events) => {
      const frames = framesOf(events);
      const whole = readFrames(frames).events;
      for (let length = 0; length < frames.length; length += 1) {
        const { events: read, reader } = readFrames(frames.slice(0, length));
        expect(read).toEqual(whole.slice(0, read.length));
        expect(read.some(({ kind }) => kind.case === "end")).toBe(false);
        expect([reader.complete, reader.fault]).toEqual([false, undefined]);
      }
    }),
    { numRuns: Math.ceil(numRuns / 10) },
  );
});

test("a block that begins is ended before the next begins, and indexes count up from 0", { timeout }, () => {
  fc.assert(
    fc.property(reply(jsonText, false), (events) => {
      let open: unknown;
      let blocks = 0;
      for (const { type, data } of framesOf(events)) {
        const json = JSON.parse(data) as Record<string, unknown>;
        expect(json["type"]).toBe(type);
        if (type === "content_block_start") {
          expect([open, json["index"]]).toEqual([undefined, blocks]);
          open = json["index"];
          blocks += 1;
        } else if (type.startsWith("content_block")) {
          expect(json["index"]).toBe(open);
          if (type === "content_block_stop") open = undefined;
        }
      }
      expect(open).toBeUndefined();
    }),
    { numRuns },
  );
});
