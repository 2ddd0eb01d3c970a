import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { type Citation, CitationSchema, MediaSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason, type TokenLogprob, TokenLogprobSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import type { AnswerOptions } from "../codec.ts";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../events.ts";
import { servedInItsTier } from "../testing/service-tier.ts";

/** How often a property is tried. */
export const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);

export const answerOptions: AnswerOptions = {
  id: "resp_fallback",
  createTimeMs: 1_700_000_000_000,
  model: "fallback-model",
  includeUsage: true,
  request: { model: "alias", input: "hi" },
};

const piece = fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 });
const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const bytes = fc.uint8Array({ maxLength: 12 });
const count = fc.nat(1_000);

const token = fc.record({ token: piece, logprob: fc.constantFrom(-0.5, -9999), bytes });
const logprob: fc.Arbitrary<TokenLogprob> = fc
  .tuple(token, fc.array(token, { maxLength: 2 }))
  .map(([chosen, top]) => create(TokenLogprobSchema, { ...chosen, top }));

const citation: fc.Arbitrary<Citation> = fc
  .oneof(
    fc.record({ start: count, end: count, title: piece, url: word }),
    fc.record({ index: count, filename: piece, file_id: word }).map(
      ({ index, filename, file_id }): MessageInitShape<typeof CitationSchema> => ({
        start: index,
        end: index,
        title: filename,
        details: { type: "file_citation", file_id, filename, index },
      }),
    ),
  )
  .map((init) => create(CitationSchema, init));

/** Makes the events of one part, of which the number is known only later. */
type PartEvents = (part: number) => GenerateEvent[];

const textPart: fc.Arbitrary<PartEvents> = fc
  .tuple(
    fc.array(fc.tuple(piece, fc.array(logprob, { maxLength: 2 })), { minLength: 1, maxLength: 4 }),
    fc.array(citation, { maxLength: 2 }),
  )
  .map(([pieces, citations]) => (part) => [
    ...pieces.map(([text, logprobs]) => textEvent(0, part, text, logprobs)),
    ...citations.map((source) => citationEvent(0, part, source)),
  ]);
const refusalPart: fc.Arbitrary<PartEvents> = fc
  .array(piece, { minLength: 1, maxLength: 3 })
  .map((pieces) => (part) => pieces.map((text) => refusalEvent(0, part, text)));
const reasoningPart: fc.Arbitrary<PartEvents> = fc
  .record({ pieces: fc.array(piece, { maxLength: 3 }), named: fc.boolean(), signature: bytes, sealed: bytes })
  .map(({ pieces, named, signature, sealed }) => (part) => [
    reasoningEvent(0, part, named ? { id: `rs_${part}` } : {}),
    ...pieces.map((text) => reasoningEvent(0, part, { text })),
    reasoningEvent(0, part, { signature, sealed }),
  ]);
const imagePart: fc.Arbitrary<PartEvents> = bytes.map((rest) => (part) => {
  const value = Buffer.concat([Buffer.from("\x89PNG", "latin1"), rest]);
  return [imageEvent(0, part, create(MediaSchema, { source: { case: "data", value }, mediaType: "image/png" }))];
});
const callPart: fc.Arbitrary<PartEvents> = fc
  .record({ name: word, pieces: fc.array(piece, { maxLength: 3 }), signature: bytes, late: fc.boolean() })
  .map(({ name, pieces, signature, late }) => (part) => [
    toolCallEvent(0, part, { id: `call_${part}`, name, ...(late ? {} : { signature }) }),
    ...pieces.map((text) => toolCallEvent(0, part, { arguments: text })),
    ...(late ? [toolCallEvent(0, part, { signature })] : []),
  ]);

const stop = fc.constantFrom<readonly [StopReason, string]>(
  [StopReason.END, "completed"],
  [StopReason.LENGTH, "max_output_tokens"],
  [StopReason.LENGTH, "max_messages"],
  [StopReason.CONTENT_FILTER, "content_filter"],
  [StopReason.PAUSED, "steered"],
  [StopReason.UNSPECIFIED, "incomplete"],
);

const usage = fc
  .record({
    plain: count,
    cached: count,
    written: count,
    long: count,
    output: count,
    reasoning: count,
    uses: fc.nat(3),
  })
  .map(({ plain, cached, written, long, output, reasoning, uses }) => ({
    inputTokens: plain + cached + written,
    cachedInputTokens: cached,
    cacheWriteTokens: written,
    cacheWriteLongTokens: Math.min(long, written),
    outputTokens: output + reasoning,
    reasoningTokens: reasoning,
    serverToolUses: uses === 0 ? {} : { web_search: uses },
  }));

/** The events of a reply that this dialect can express, with calls in a row that interleave. */
export const reply: fc.Arbitrary<GenerateEvent[]> = fc
  .record({
    model: word,
    serviceTier: fc.constantFrom("", "flex"),
    seconds: fc.integer({ min: 1, max: 2_000_000_000 }),
    groups: fc.array(
      fc.oneof(
        fc.oneof(textPart, refusalPart, reasoningPart, imagePart).map((part) => [part]),
        fc.array(callPart, { minLength: 1, maxLength: 3 }),
      ),
      { maxLength: 6 },
    ),
    stop,
    usage: fc.option(usage),
  })
  .map((facts) => {
    let parts = 0;
    const said = facts.groups.flatMap((group) => interleave(group.map((events) => events(parts++))));
    const kinds = said.map(({ kind }) => (kind.case === "delta" ? kind.value.content.case : kind.case));
    const images = kinds.filter((kind) => kind === "image").length;
    const [reason, raw] = facts.stop;
    const settled = reason === StopReason.END && kinds.includes("toolCall") ? StopReason.TOOL_CALLS : reason;
    const counts =
      facts.usage === null
        ? undefined
        : create(UsageSchema, {
            ...facts.usage,
            serverToolUses: { ...facts.usage.serverToolUses, ...(images === 0 ? {} : { image_generation: images }) },
          });
    const { model, serviceTier, seconds } = facts;
    return servedInItsTier([
      startEvent({ id: "resp_0a1", model, serviceTier, createTimeMs: seconds * 1_000 }),
      ...said,
      endEvent([choiceEnd(0, settled, raw)], counts),
    ]);
  });

/** One event of each list in turn, the first ones in order. */
function interleave(lists: GenerateEvent[][]): GenerateEvent[] {
  const events: GenerateEvent[] = [];
  for (let turn = 0; lists.some((list) => turn < list.length); turn += 1) {
    for (const list of lists) events.push(...list.slice(turn, turn + 1));
  }
  return events;
}

/** What a reply says, whatever pieces it came in. */
export function joined(events: readonly GenerateEvent[]): unknown {
  const parts: Record<string, unknown>[] = [];
  const facts: unknown[] = [];
  for (const { kind } of events) {
    if (kind.case === "citation") {
      const { part, citation: source } = kind.value;
      parts[part] = { ...parts[part], citations: [...((parts[part]?.["citations"] as []) ?? []), source] };
    } else if (kind.case === "delta") {
      const { part, content, logprobs } = kind.value;
      const before = parts[part] ?? {};
      const values = typeof content.value === "string" ? { text: content.value } : content.value;
      parts[part] = { ...before, kind: content.case, ...grow(before, { ...values, logprobs }) };
    } else facts.push(kind);
  }
  return { facts, parts };
}

/** Texts and lists append, bytes replace. */
function grow(before: Record<string, unknown>, values: object): Record<string, unknown> {
  const after: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values) as [string, unknown][]) {
    const old = before[name];
    if (name !== "$typeName" && typeof value === "string") after[name] = ((old as string | undefined) ?? "") + value;
    else if (Array.isArray(value)) after[name] = [...((old as [] | undefined) ?? []), ...(value as unknown[])];
    else if (value instanceof Uint8Array) after[name] = value.length > 0 || old === undefined ? [...value] : old;
    else after[name] = value;
  }
  return after;
}
